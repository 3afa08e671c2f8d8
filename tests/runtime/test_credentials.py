"""Content credentials are verified: pictures signed here, changed since, signed by nobody known, or not at all."""

import builtins
import datetime
import io
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fakelens.core.imaging import ImageRefused
from fakelens.runtime import provenance
from fakelens.runtime.detector import OnnxDetector
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


def signed(
    signer: Any,
    *actions: dict[str, Any],
    kind: str = "JPEG",
    ingredient: tuple[bytes, str] | None = None,
    remote_url: str = "",
    **more: Any,
) -> bytes:
    """The picture with credentials that list `actions`; `ingredient` is a JPEG and its relationship."""
    manifest = {
        "claim_generator_info": [{"name": "test", "version": "1"}],
        "assertions": [{"label": "c2pa.actions", "data": {"actions": list(actions)}}],
    }
    builder = c2pa.Builder(manifest | more)
    if ingredient:
        about = {"title": "a.jpg", "instance_id": "a", "relationship": ingredient[1]}
        builder.add_ingredient(about, "image/jpeg", io.BytesIO(ingredient[0]))
    if remote_url:
        builder.set_no_embed()
        builder.set_remote_url(remote_url)
    out = io.BytesIO()
    builder.sign(signer, f"image/{kind.lower()}", io.BytesIO(encoded(PICTURE, kind)), out)
    return out.getvalue()


def created(source_type: str) -> dict[str, Any]:
    return {"action": "c2pa.created", "digitalSourceType": TERM.format(source_type)}


def on_ingredient(action: str) -> dict[str, Any]:
    return {"action": action, "parameters": {"ingredientIds": ["a"]}}


def tampered(data: bytes) -> bytes:
    return data[:-300] + bytes([data[-300] ^ 1]) + data[-299:]


def marks(data: bytes) -> list[str]:
    return [mark.words for mark in read_picture("a", data, [256]).marks]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_a_signed_picture_says_who_signed_and_what_is_claimed(signer: Any, kind: str) -> None:
    (words,) = marks(signed(signer, created("trainedAlgorithmicMedia"), kind=kind))
    assert words == (
        "Content credentials (C2PA): signature valid, unchanged since it was signed by Camera 7 of Test newsroom (a "
        "signer that is on no trust list); claimed: made by a trained model; written by test"
    )


@pytest.mark.parametrize(
    ("source_type", "claim"),
    [
        ("digitalCapture", "claimed: taken by a digital camera"),
        ("compositeWithTrainedAlgorithmicMedia", "claimed: composed with parts made by a trained model"),
        ("print", "no part of a trained model is claimed"),
    ],
)
def test_other_claims_are_named_too(signer: Any, source_type: str, claim: str) -> None:
    (words,) = marks(signed(signer, created(source_type)))
    assert "signature valid" in words
    assert f"; {claim}; written by test" in words


def test_what_is_claimed_of_a_part_is_not_claimed_of_the_picture(signer: Any) -> None:
    generated = signed(signer, created("trainedAlgorithmicMedia"))
    edited = signed(signer, on_ingredient("c2pa.opened"), ingredient=(generated, "parentOf"))
    assert "claimed: edited from a picture made by a trained model" in marks(edited)[0]
    placed = on_ingredient("c2pa.placed")
    composed = signed(signer, created("digitalCapture"), placed, ingredient=(generated, "componentOf"))
    assert "claimed: composed with parts made by a trained model" in marks(composed)[0]
    named = signed(signer, created("digitalCapture"), title="trainedAlgorithmicMedia")
    assert "claimed: taken by a digital camera" in marks(named)[0]


def test_a_new_signature_does_not_hide_that_an_earlier_one_was_broken(signer: Any) -> None:
    changed = tampered(signed(signer, created("digitalCapture")))
    (words,) = marks(signed(signer, on_ingredient("c2pa.opened"), ingredient=(changed, "parentOf")))
    assert "signature valid" in words
    assert "made from a picture whose own signature is invalid (assertion.dataHash.mismatch)" in words


def test_changed_credentials_of_an_ingredient_are_named(signer: Any) -> None:
    generated = signed(signer, created("trainedAlgorithmicMedia"))
    data = signed(signer, on_ingredient("c2pa.opened"), ingredient=(generated, "parentOf"))
    assert data.count(TERM.format("trainedAlgorithmicMedia").encode()) == 1
    (words,) = marks(data.replace(b"trainedAlgorithmicMedia", b"trainedAlgorithmicMedim"))
    assert "signature invalid (ingredient.manifest.mismatch, assertion.hashedURI.mismatch)" in words


def test_a_picture_that_was_changed_since_has_an_invalid_signature(signer: Any) -> None:
    (words,) = marks(tampered(signed(signer, created("digitalCapture"))))
    assert "signature invalid (assertion.dataHash.mismatch), made in the name of Camera 7 of Test newsroom" in words


def test_no_changed_byte_is_called_valid(signer: Any) -> None:
    data = signed(signer, created("trainedAlgorithmicMedia"))
    rng = np.random.default_rng(0)
    for place in rng.integers(2, len(data), 150):
        changed = data[:place] + bytes([data[place] ^ int(rng.integers(1, 256))]) + data[place + 1 :]
        try:
            words = marks(changed)
        except ImageRefused:
            continue
        assert not any("signature valid" in each for each in words), place


def test_credentials_moved_to_another_picture_are_invalid(signer: Any) -> None:
    data = signed(signer, created("digitalCapture"))
    other = encoded(Image.fromarray(np.rot90(noise(300, 300))), "JPEG")
    # The quantisation tables follow the provenance.
    moved = data[: data.rindex(b"\xff\xdb\0C\0")] + other[other.index(b"\xff\xdb\0C\0") :]
    assert "signature invalid" in marks(moved)[0]


def test_what_only_looks_like_credentials_is_invalid() -> None:
    box = b"jumb\0\0\0\x1ejumdc2pa" + b"x" * 40 + b"qdigitalSourceTypexF"
    box += TERM.format("trainedAlgorithmicMedia").encode() + b"y" * 40
    segment = b"JP\0\1\0\0\0\1" + (len(box) + 4).to_bytes(4, "big") + box
    (words,) = marks(with_segments(encoded(PICTURE, "JPEG"), 0xEB, segment))
    assert "signature valid" not in words
    assert "made by a trained model" in words


def test_names_are_text_of_limited_length(signer: Any) -> None:
    generator = [{"name": "a\u202eb\n" + "x" * 5_000, "version": "1"}]
    (words,) = marks(signed(signer, created("digitalCapture"), claim_generator_info=generator))
    assert "written by a b xxx" in words
    assert len(words) < 500


def test_nothing_is_fetched_for_credentials_that_lie_elsewhere(signer: Any) -> None:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/manifest"
        data = signed(signer, created("digitalCapture"), remote_url=url)
        assert url.encode() in data
        words = marks(data)
        # Even where a place elsewhere is asked for, no host is one that may be.
        settings = provenance.SETTINGS | {"verify": {"remote_manifest_fetch": True}}
        with pytest.raises(c2pa.C2paError):
            c2pa.Reader("image/jpeg", io.BytesIO(data), context=c2pa.Context.from_dict(settings))
        server.shutdown()
    assert (words, asked) == ([], [])


def test_the_score_is_the_same_with_and_without_the_verifier(signer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    detector, data = OnnxDetector(onnx_bytes()), signed(signer, created("trainedAlgorithmicMedia"))
    verified = judge(data, detector)
    monkeypatch.setattr(provenance, "library", lambda: None)
    unverified = judge(data, detector)
    assert isinstance(verified, Judgement)
    assert isinstance(unverified, Judgement)
    assert (verified.probability, verified.verdict) == (unverified.probability, unverified.verdict)
    assert [mark.words for mark in unverified.marks] == [
        "Content credentials (C2PA): signature unverified (c2pa-python is not installed); claimed: made by a trained "
        "model"
    ]
    (photograph,) = marks(signed(signer, created("digitalCapture")))
    assert "signature unverified" in photograph


@pytest.mark.parametrize("error", [ImportError("no module"), OSError("libc2pa_c.so: wrong ELF class")])
def test_a_library_that_cannot_be_loaded_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(name: str, *args: Any) -> Any:
        if name == "c2pa":
            raise error
        return imported(name, *args)

    imported = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", fail)
    provenance.library.cache_clear()
    try:
        assert provenance.verifier() == ""
    finally:
        monkeypatch.undo()
        provenance.library.cache_clear()
    assert provenance.verifier().startswith("c2pa-python 0.")
