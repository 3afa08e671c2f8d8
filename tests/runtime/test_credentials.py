"""Content credentials are verified: pictures signed here, changed since, signed by nobody known, or not at all."""

import datetime
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fakelens.runtime import credentials
from fakelens.runtime.judgement import Judgement, judge, read_picture
from onnx_models import encoded, noise, onnx_bytes
from picture_files import with_segments

c2pa = pytest.importorskip("c2pa")
TERM = "http://cv.iptc.org/newscodes/digitalsourcetype/{}"
PICTURE = Image.fromarray(noise(300, 300))


def name(common: str) -> Any:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, common),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test newsroom"),
        ]
    )


def certificate(common: str, key: Any, issuer_key: Any, *, is_root: bool) -> Any:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID

    now = datetime.datetime.now(datetime.UTC)
    usage = x509.KeyUsage(not is_root, False, False, False, False, is_root, is_root, False, False)
    builder = (
        x509.CertificateBuilder(name("root"), name(common), key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if not is_root:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


@pytest.fixture(scope="module")
def signer() -> Any:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    chain = [
        certificate("Camera 7", key, root_key, is_root=False),
        certificate("root", root_key, root_key, is_root=True),
    ]
    pem = b"".join(each.public_bytes(serialization.Encoding.PEM) for each in chain)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return c2pa.Signer.from_info(c2pa.C2paSignerInfo(alg=b"es256", sign_cert=pem, private_key=private, ta_url=None))


def signed(signer: Any, source_type: str, kind: str = "JPEG") -> bytes:
    action = {"action": "c2pa.created", "digitalSourceType": TERM.format(source_type)}
    manifest = {
        "claim_generator_info": [{"name": "test", "version": "1"}],
        "assertions": [{"label": "c2pa.actions", "data": {"actions": [action]}}],
    }
    out = io.BytesIO()
    c2pa.Builder(manifest).sign(signer, f"image/{kind.lower()}", io.BytesIO(encoded(PICTURE, kind)), out)
    return out.getvalue()


def marks(data: bytes) -> list[str]:
    return [mark.words for mark in read_picture("a", data, [256]).marks]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_signed_picture_says_who_signed_and_what_is_claimed(signer: Any, kind: str) -> None:
    (words,) = marks(signed(signer, "trainedAlgorithmicMedia", kind))
    assert words == (
        "Content credentials (C2PA): signature valid, the file is as it was signed by Camera 7 of Test newsroom, whom "
        "no list of trust is asked about; it claims: made by a trained model"
    )


def test_a_photograph_with_credentials_has_a_mark_too(signer: Any) -> None:
    (words,) = marks(signed(signer, "digitalCapture"))
    assert "signature valid" in words
    assert words.endswith("it claims no part of a trained model")


def test_a_picture_that_was_changed_since_has_an_invalid_signature(signer: Any) -> None:
    data = bytearray(signed(signer, "digitalCapture"))
    data[-300] ^= 1
    (words,) = marks(bytes(data))
    assert "signature invalid (assertion.dataHash.mismatch), made in the name of Camera 7 of Test newsroom" in words


def test_credentials_moved_to_another_picture_are_invalid(signer: Any) -> None:
    data = signed(signer, "digitalCapture")
    other = encoded(Image.fromarray(np.rot90(noise(300, 300))), "JPEG")
    # The quantisation tables follow the credentials.
    moved = data[: data.rindex(b"\xff\xdb\0C\0")] + other[other.index(b"\xff\xdb\0C\0") :]
    assert "signature invalid" in marks(moved)[0]


def test_what_only_looks_like_credentials_is_invalid() -> None:
    box = b"jumb\0\0\0\x1ejumdc2pa" + b"x" * 40 + b"qdigitalSourceTypexF"
    box += TERM.format("trainedAlgorithmicMedia").encode() + b"y" * 40
    segment = b"JP\0\1\0\0\0\1" + (len(box) + 4).to_bytes(4, "big") + box
    (words,) = marks(with_segments(encoded(PICTURE, "JPEG"), 0xEB, segment))
    assert "signature valid" not in words
    assert "made by a trained model" in words


def test_the_score_is_the_same_with_and_without_the_verifier(signer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from fakelens.runtime.detector import OnnxDetector

    detector, data = OnnxDetector(onnx_bytes()), signed(signer, "trainedAlgorithmicMedia")
    verified = judge(data, detector)
    monkeypatch.setattr(credentials, "credentials_are_verified", lambda: False)
    unverified = judge(data, detector)
    assert isinstance(verified, Judgement)
    assert isinstance(unverified, Judgement)
    assert (verified.probability, verified.verdict) == (unverified.probability, unverified.verdict)
    assert [mark.words for mark in unverified.marks] == ["Content credentials (C2PA): made by a trained model"]
