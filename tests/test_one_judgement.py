"""Page, endpoint, command line and Python say the same of the same bytes."""

import asyncio
import csv
import functools
import io
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from starlette.applications import Starlette
from streamlit.testing.v1 import AppTest

from fakelens import cli
from fakelens.app import view
from fakelens.app.endpoint import routes
from fakelens.app.limits import ENDPOINT
from fakelens.core.scoring import capital
from fakelens.runtime.bundle import Bundle
from fakelens.runtime.judgement import Answer, Judgement, judge
from onnx_models import DETECTORS, encoded, flat_picture, make_bundle, noise
from picture_files import png_promising, with_png_chunk, with_segments

pytestmark = pytest.mark.usefixtures("unscanned")
XMP = b'<x:xmpmeta><a DigitalSourceType="x/digitalsourcetype/trainedAlgorithmicMedia"/></x:xmpmeta>'
SCENE = Image.fromarray(noise(40, 50)).resize((400, 320), Image.Resampling.BICUBIC)


@functools.cache
def odd_files() -> dict[str, bytes]:
    """Thirty files as people have them: every format and mode, heavy compression, marks, damage, no picture at all."""
    exif = Image.Exif()
    exif[0x0112] = 6
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "a cat, Steps: 20, Sampler: Euler", zip=True)
    clear = SCENE.copy()
    clear.putalpha(SCENE.convert("L"))
    deep = np.asarray(SCENE.convert("L")).astype(np.uint16) * 257
    jpeg, png = encoded(SCENE, "JPEG", quality=90), encoded(SCENE)
    files = {
        "quality 12.jpg": encoded(SCENE, "JPEG", quality=12),
        "quality 40.jpg": encoded(SCENE, "JPEG", quality=40),
        "thumbnail.jpg": encoded(SCENE.resize((120, 96)), "JPEG"),
        "scan.tif": encoded(SCENE.resize((200, 160)), "TIFF", compression="tiff_lzw"),
        "progressive.jpg": encoded(SCENE, "JPEG", progressive=True),
        "cmyk.jpg": encoded(SCENE.convert("CMYK"), "JPEG"),
        "turned.jpg": encoded(SCENE, "JPEG", exif=exif),
        "phone.mpo": encoded(SCENE, "MPO", save_all=True, append_images=[SCENE]),
        "said.jpg": encoded(SCENE, "JPEG", xmp=XMP),
        "credentials.jpg": with_segments(jpeg, 0xEB, b"JP\0\1\0\0\0\1" + b"jumb" * 2 + XMP),
        "credentials.png": with_png_chunk(png, b"caBX", b"jumb" + XMP),
        "prompt.png": encoded(SCENE, pnginfo=text),
        "alpha.png": encoded(clear),
        "palette.png": encoded(SCENE.quantize(16), transparency=3),
        "deep.png": encoded(Image.fromarray(deep)),
        "old.bmp": encoded(SCENE.convert("1"), "BMP"),
        "white.png": flat_picture(255),
        "black.png": flat_picture(0),
        "grey.png": flat_picture(127),
        "one colour.png": flat_picture(90, grain=0),
        "enlarged.png": encoded(SCENE.resize((30, 24)).resize((1200, 960))),
        "long.png": encoded(Image.fromarray(noise(100, 1500))),
        "webp.webp": encoded(SCENE, "WEBP", xmp=XMP),
        "avif.avif": encoded(SCENE, "AVIF"),
        "named wrongly.jpg": encoded(SCENE, "WEBP"),
        "cut.jpg": jpeg[: len(jpeg) // 2],
        "frames.gif": encoded(SCENE, "GIF", save_all=True, append_images=[SCENE.rotate(90)]),
        "empty.jpg": b"",
        "page.jpg": b"<html>not found</html>",
        "bomb.png": png_promising(60_000, 60_000),
    }
    assert len(files) == 30
    return files


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("four ways") / "bundle")


@pytest.fixture(scope="module")
def answers(bundle: Path) -> dict[str, Answer]:
    """What Python gets."""
    opened = Bundle.open(bundle, num_threads=1)
    detector = opened.detector(opened.model().name)
    return {name: judge(data, detector, name=name) for name, data in odd_files().items()}


def rows(answers: Mapping[str, Answer]) -> dict[str, dict[str, Any]]:
    return {name: json.loads(json.dumps(answer.as_dict())) for name, answer in answers.items()}


def test_the_files_are_odd_indeed(answers: dict[str, Answer]) -> None:
    judgements = [answer for answer in answers.values() if isinstance(answer, Judgement)]
    assert len(judgements) == 26
    assert len({caution.words[:25] for judgement in judgements for caution in judgement.cautions}) >= 6
    assert sum(bool(judgement.marks) for judgement in judgements) == 5
    assert len({judgement.verdict for judgement in judgements}) == 3


def test_a_judgement_holds_what_a_record_needs(bundle: Path, answers: dict[str, Answer]) -> None:
    answer = answers["said.jpg"]
    assert isinstance(answer, Judgement)
    model = Bundle.open(bundle).model(answer.detector)
    assert answer.detector_sha256 == Bundle.open(bundle).info.files[model.file]
    assert (answer.threshold, answer.container.format) == (model.threshold, "JPEG")
    assert [mark.says for mark in answer.marks] == ["made by a trained model"]


def test_the_command_line_says_the_same(
    bundle: Path, answers: dict[str, Answer], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, data in odd_files().items():
        (tmp_path / name).write_bytes(data)
    predict = ["predict", str(tmp_path), "--bundle", str(bundle)]
    lines = [json.loads(line) for line in run(*predict, "--json", capsys=capsys).splitlines()]
    assert {Path(line["path"]).name: line | {"path": Path(line["path"]).name} for line in lines} == rows(answers)
    run(*predict, "--csv", str(tmp_path / "out.csv"), capsys=capsys)
    table = csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text("utf-8-sig")))
    for row in table:
        told = answers[Path(row["path"]).name].as_dict()
        assert row["cautions"] == " ".join(told["cautions"])
        assert row["marks"] == "; ".join(told["marks"])
        assert row["verdict"] == (told["verdict"] or "")


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command prints."""
    sys.argv = ["fakelens", *arguments]
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1  # there are bad files
    return capsys.readouterr().out


def test_the_endpoint_says_the_same(bundle: Path, answers: dict[str, Answer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKELENS_BUNDLE", str(bundle))

    async def post(data: bytes) -> dict[str, Any]:
        sent: list[Any] = []
        scope = {"type": "http", "method": "POST", "path": ENDPOINT, "query_string": b"", "headers": []}

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": data}

        async def send(message: Any) -> None:
            sent.append(message)

        await Starlette(routes=routes())(scope, receive, send)
        answer: dict[str, Any] = json.loads(sent[1]["body"])
        return answer

    for name, row in rows(answers).items():
        if not odd_files()[name]:
            continue  # a request without a body is another fault than an empty file
        answer = asyncio.run(post(odd_files()[name]))
        answer.pop("seconds", None)
        answer.pop("usage", None)  # what the endpoint alone adds to a refusal: how to send
        assert answer == {key: value for key, value in row.items() if key != "path"}, name


def test_the_page_says_the_same(bundle: Path, answers: dict[str, Answer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKELENS_BUNDLE", str(bundle))
    app = AppTest.from_file(Path(view.__file__).with_name("page.py"), default_timeout=60).run()
    app.file_uploader[0].set_value([(name, data, "image/png") for name, data in odd_files().items()])
    app.run()
    assert not app.exception
    table = app.dataframe[0].value
    assert list(table["File"]) == list(answers)
    for index, answer in enumerate(answers.values()):
        assert table["Remarks"][index] == " ".join(answer.remarks)
        words = f"{capital(answer.words)} (3 of 3)" if isinstance(answer, Judgement) else "Not judged"
        assert table["Verdict"][index] == words
        if isinstance(answer, Judgement):
            for display_name, _ in DETECTORS.values():
                assert table[display_name][index] == pytest.approx(100 * answer.probability, abs=1e-4)
    for name in ("quality 12.jpg", "said.jpg", "cut.jpg"):
        app.selectbox(key="closer").select_index(list(answers).index(name))
        app.run()
        shown = [text.value.replace("\\", "") for text in (*app.warning, *app.info, *app.error, *app.markdown)]
        for words in answers[name].remarks:
            assert any(words in text for text in shown), words
