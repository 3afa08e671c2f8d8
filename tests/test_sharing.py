"""A bundle goes to the hub and comes back the same, or the remedy is named."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

import fakelens
from fakelens import FakelensError, cli, sharing
from fakelens.runtime.bundle import BundleDamaged
from model_hub import LARGE_BYTES, OTHERS, ModelHub
from onnx_models import flat_picture, make_bundle

pytestmark = [
    pytest.mark.usefixtures("hub"),
    # The client's, of the way it hands a large file to its own transport.
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
]
NAME = "us/detectors"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("sharing") / "bundle")


@pytest.fixture
def hub(model_hub: ModelHub) -> ModelHub:
    return model_hub


def test_a_bundle_comes_back_as_it_went(hub: ModelHub, bundle: Path) -> None:
    address = fakelens.push(NAME, bundle)
    pushed = hub.models[NAME].files()
    files = {path.relative_to(bundle).as_posix(): path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    own = files.pop(".gitattributes")
    assert {name: data for name, data in pushed.items() if name != ".gitattributes"} == files
    assert pushed[".gitattributes"] != own  # by the hub's, `git clone` knows the large files
    assert {len(data) > LARGE_BYTES for data in hub.stored.values()} == {True}
    assert address == f"hf://{NAME}@{hub.models[NAME].branches['main']}"
    for place in (address, f"hf://{NAME}"):
        judgement = fakelens.open_bundle(place).judge(flat_picture(255))
        assert judgement.as_dict() == fakelens.open_bundle(bundle).judge(flat_picture(255)).as_dict()
    assert len(hub.downloads) == len(set(hub.downloads))  # what is there is not fetched again


def test_a_revision_is_a_branch_and_an_older_one_stays(bundle: Path, tmp_path: Path) -> None:
    first = fakelens.push(NAME, bundle)
    other = make_bundle(tmp_path / "other", demo=True)
    fakelens.push(NAME, other, revision="trial")
    assert fakelens.open_bundle(f"hf://{NAME}@trial").demo
    assert not fakelens.open_bundle(f"hf://{NAME}").demo
    fakelens.push(NAME, other)
    assert fakelens.open_bundle(f"hf://{NAME}").demo
    assert not fakelens.open_bundle(first).demo


def test_a_private_one_needs_its_token(hub: ModelHub, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakelens.push(NAME, bundle, private=True)
    assert hub.models[NAME].private
    assert fakelens.open_bundle(f"hf://{NAME}").models
    monkeypatch.setenv("HF_TOKEN", OTHERS)
    with pytest.raises(FakelensError, match=f"{NAME}@main cannot be found: check its name.*HF_TOKEN if it is private"):
        fakelens.open_bundle(f"hf://{NAME}")


def test_a_public_one_is_not_pushed_to_as_private(hub: ModelHub, bundle: Path) -> None:
    fakelens.push(NAME, bundle)
    before = hub.models[NAME].branches["main"]
    with pytest.raises(FakelensError, match="is public: make it private in its settings"):
        fakelens.push(NAME, bundle, private=True)
    assert hub.models[NAME].branches["main"] == before


@pytest.mark.parametrize(
    ("token", "words"), [("", "`hf auth login`, or set HF_TOKEN"), (OTHERS, "use one of us's with the right to write")]
)
@pytest.mark.parametrize("exists", [False, True])
def test_who_may_not_push_is_told_so(
    hub: ModelHub, bundle: Path, monkeypatch: pytest.MonkeyPatch, token: str, words: str, exists: bool
) -> None:
    if exists:
        fakelens.push(NAME, bundle)
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(FakelensError, match=words):
        fakelens.push(NAME, bundle, revision="new")
    assert (NAME in hub.models) == exists


def test_a_revision_may_stand_in_the_name(hub: ModelHub, bundle: Path) -> None:
    fakelens.push(f"{NAME}@v1", bundle)
    assert fakelens.open_bundle(f"hf://{NAME}@v1").models
    assert list(hub.models) == [NAME]
    with pytest.raises(FakelensError, match="name it once"):
        fakelens.push(f"{NAME}@v1", bundle, revision="v2")


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("hf://us/nothing", "us/nothing@main cannot be found"),
        (f"hf://{NAME}@v9", f"{NAME}@v9 does not exist: choose another revision"),
        ("hf://nothing", "write hf://ORG/NAME"),
        ("hf://us/detectors@", "write hf://ORG/NAME"),
        ("hf://us/empty", "it has no bundle.json: `fakelens push` brings one"),
        ("hf://us/..", r"the hub takes no repository of the name us/\.\.: "),
    ],
)
def test_what_is_not_there_is_named(hub: ModelHub, bundle: Path, place: str, words: str) -> None:
    fakelens.push(NAME, bundle)
    hub.models["us/empty"] = type(hub.models[NAME])(private=False)
    with pytest.raises(FakelensError, match=words):
        fakelens.open_bundle(place)


@pytest.mark.parametrize(
    ("place", "meant"),
    [
        ("https://huggingface.co/us/detectors", "hf://us/detectors"),
        ("http://hf.co/us/detectors/", "hf://us/detectors"),
        ("huggingface.co/us/detectors", "hf://us/detectors"),
        ("https://huggingface.co/us/detectors/tree/v1.0", "hf://us/detectors@v1.0"),
        ("HF://us/detectors@v1", "hf://us/detectors@v1"),
        ("hf:us/detectors", "hf://us/detectors"),
        (Path("hf://us/detectors"), "hf://us/detectors"),
        ("https://huggingface.co/spaces/us/detectors", "hf://ORG/NAME"),
        ("s3://us/detectors", "hf://ORG/NAME"),
    ],
)
def test_the_address_that_was_meant_is_named(bundle: Path, place: str | Path, meant: str) -> None:
    with pytest.raises(FakelensError, match=f"write {meant}$"):
        fakelens.open_bundle(place)
    with pytest.raises(FakelensError, match=f"write {meant}$"):
        fakelens.push(str(place), bundle)


def test_a_folder_may_be_called_like_an_address(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(bundle, "huggingface.co/us/detectors")
    assert fakelens.open_bundle("huggingface.co/us/detectors").models


def test_a_file_that_is_not_the_one_of_the_record_is_refused(hub: ModelHub, bundle: Path) -> None:
    fakelens.push(NAME, bundle)
    repository = hub.models[NAME]
    repository.commit("main", repository.files() | {"fakelens/app/page.py": b"import os"})
    with pytest.raises(BundleDamaged, match=r"not those that bundle.json describes: fakelens/app/page\.py.*remove"):
        fakelens.open_bundle(f"hf://{NAME}")
    record = repository.files()["bundle.json"].replace(b'"demo": false', b'"demo": true')
    repository.commit("main", repository.files() | {"bundle.json": record})
    with pytest.raises(BundleDamaged, match="not as it was written"):
        fakelens.open_bundle(f"hf://{NAME}")
    repository.commit("main", repository.files() | {"bundle.json": b"[]"})
    with pytest.raises(FakelensError, match="does not list its files"):
        fakelens.open_bundle(f"hf://{NAME}")


def test_a_readme_may_be_edited_on_the_hub(hub: ModelHub, bundle: Path) -> None:
    fakelens.push(NAME, bundle)
    repository = hub.models[NAME]
    repository.commit("main", repository.files() | {"README.md": b"# Ours", "notes.txt": b"ours"})
    assert fakelens.open_bundle(f"hf://{NAME}").models
    assert "notes.txt" not in hub.downloads


def test_a_damaged_bundle_is_not_pushed(hub: ModelHub, bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    (copy / "small_net.onnx").write_bytes(b"other")
    with pytest.raises(BundleDamaged, match=r"small_net\.onnx"):
        fakelens.push(NAME, copy)
    with pytest.raises(FakelensError, match="is not a bundle"):
        fakelens.push(NAME, tmp_path)
    assert not hub.models


@pytest.mark.parametrize("status", [400, 500])
def test_a_hub_that_fails_is_named_and_no_older_copy_is_taken(hub: ModelHub, bundle: Path, status: int) -> None:
    fakelens.push(NAME, bundle)
    fakelens.open_bundle(f"hf://{NAME}")
    hub.status, hub.message, hub.faulty = status, "a bad day", "/api/"
    with pytest.raises(FakelensError, match=f"reading hf://{NAME}@main failed .*run the same command again"):
        fakelens.open_bundle(f"hf://{NAME}")
    with pytest.raises(FakelensError, match=f"pushing to hf://{NAME}@main failed"):
        fakelens.push(NAME, bundle)


@pytest.mark.parametrize("fault", ["fail_every", "cut_every"])
def test_a_bundle_goes_and_comes_through_a_hub_with_faults(
    hub: ModelHub, bundle: Path, waited_s: list[float], fault: str
) -> None:
    hub.faulty = "/"
    setattr(hub, fault, 3)
    address = fakelens.push(NAME, bundle)
    assert fakelens.open_bundle(address).models
    assert fault == "cut_every" or waited_s  # the client goes on by itself where a body is cut


def test_storage_that_refuses_a_bundle_is_asked_again_and_named(
    hub: ModelHub, storage: ModelHub, bundle: Path, waited_s: list[float]
) -> None:
    fakelens.push(NAME, bundle)
    hub.keep_files_elsewhere(storage)
    storage.num_refused = 3
    assert fakelens.open_bundle(f"hf://{NAME}").models
    assert waited_s[0] == 0.5
    assert len(waited_s) == 3
    hub.models[NAME].commit("main", hub.models[NAME].files() | {"README.md": b"# Another"})
    storage.num_refused = 1000
    with pytest.raises(FakelensError, match=rf"hf://{NAME}@main failed: {storage.url[7:]} answered 403"):
        fakelens.open_bundle(f"hf://{NAME}")


def test_without_a_network_the_copy_is_taken_where_one_asks_for_it(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    address = fakelens.push(NAME, bundle)
    fakelens.open_bundle(f"hf://{NAME}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for place in (address, f"hf://{NAME}", f"hf://{NAME}@main/"):
        assert fakelens.open_bundle(place).models
    with pytest.raises(FakelensError, match=r"not in the cache.*HF_HUB_OFFLINE"):
        fakelens.open_bundle("hf://us/other")


def test_without_the_client_the_extra_is_named(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing.importlib.util, "find_spec", lambda name: None if name == "huggingface_hub" else name)
    for ask in (lambda: fakelens.open_bundle(f"hf://{NAME}"), lambda: fakelens.push(NAME, bundle)):
        with pytest.raises(FakelensError, match=r"pip install 'fakelens\[hub\]'"):
            ask()


def test_the_commands_push_and_predict(hub: ModelHub, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "white.png").write_bytes(flat_picture(255))
    pushed = CliRunner().invoke(cli.app, ["push", NAME, "--bundle", str(bundle), "--private", "--revision", "v1"])
    assert pushed.exit_code == 0, pushed.output
    address = f"hf://{NAME}@{hub.models[NAME].branches['v1']}"
    assert address in pushed.output
    predicted = CliRunner().invoke(cli.app, ["predict", str(tmp_path / "white.png"), "--json", "--bundle", address])
    assert predicted.exit_code == 0, predicted.output
    assert '"verdict": "fake"' in predicted.output
