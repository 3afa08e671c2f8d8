# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Detecting AI-generated images: the whole pipeline
#
# Three networks learn to tell photographs from AI-generated pictures: a small CNN of our own, EfficientNetV2-S and
# MobileNetV2. This notebook prepares the pictures, trains the three, judges them on pictures they have not seen,
# exports them to small ONNX files, and asks them about a picture of yours. The cells call **fakelens**; `fakelens run`
# does the same in one command.
#
# As it stands it runs the demonstration: synthetic pictures made here, four to six minutes on two CPU cores.
#
# ## Installing
#
# In a clone of the repository there is nothing to set: `make notebook` installs everything and opens this page.
# Elsewhere, in Colab for one, set `ADDRESS` to where the repository can be reached. No address is filled in, because
# fakelens has none of its own yet: it is that of your copy, and the badge that opens it in Colab is made from it.

# %%
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

ADDRESS = os.environ.get("FAKELENS_ADDRESS", "")  # the one place: "https://github.com/OWNER/fakelens", for example

here = Path.cwd()
clone = next((folder for folder in (here, here.parent, here / "fakelens") if (folder / "src/fakelens").is_dir()), None)
if clone:
    os.chdir(clone)  # runs go to runs/ beside notebooks/
source = clone.resolve().as_uri() if clone else f"git+{ADDRESS}"
if importlib.util.find_spec("fakelens") is None:
    assert clone or ADDRESS, "set ADDRESS in this cell to the repository's address, or open the notebook in a clone"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", f"fakelens[train,app] @ {source}"], check=True)

# %%
import warnings

import numpy as np
import torch
from IPython.display import Image, Markdown, display
from PIL import Image as Picture
from PIL import ImageOps

from fakelens import pipeline
from fakelens.app.heatmap import as_jpeg, overlay
from fakelens.core.run_folder import RunFolder
from fakelens.dataset.store import PreparedData
from fakelens.detectors.spec import discover, find
from fakelens.recipes import load_recipe, shown, training_settings
from fakelens.runtime.bundle import Bundle
from fakelens.runtime.judgement import assess, judgement_of, read_picture
from fakelens.terminal import TerminalReporter

# %% [markdown]
# ## A GPU, if there is one
#
# The demonstration needs none. For `openfake` and `plan` choose one in Colab under *Runtime → Change runtime type*;
# without it they take days.

# %%
sys.stderr = sys.stdout  # progress in black instead of red
warnings.filterwarnings("ignore", message="IProgress not found")  # of a library that would draw bars of its own
reporter = TerminalReporter()
gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
print(f"GPU: {gpu}, training in fp16" if gpu else "No GPU: keep to the demonstration, or be patient")
if ADDRESS.startswith("https://github.com/"):
    place = ADDRESS.removeprefix("https://github.com/").removesuffix(".git")
    page = f"https://colab.research.google.com/github/{place}/blob/main/notebooks/openfake_pipeline.ipynb"
    display(Markdown(f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({page})"))

# %% [markdown]
# ## The recipe
#
# A recipe decides everything. `demo` is the demonstration, `openfake` the real thing: 12,000 pictures of the OpenFake
# data set. `plan` has the numbers that fakelens was asked for (`docs/plan.md` compares them). Here are the ten that
# matter most; `fakelens config --recipe demo` prints all of them with explanations.

# %%
recipe = load_recipe(os.environ.get("FAKELENS_RECIPE", "demo"))  # "openfake", "plan", or a file of your own
workdir = Path(os.environ.get("FAKELENS_WORKDIR", f"runs/{recipe.name}"))
detectors = [find(name) for name in recipe.only or ()] or [each for each in discover().values() if each.runs_by_default]
settings = [training_settings(spec, recipe) for spec in detectors]
# From scratch there is no phase for the head alone.
settings = [each if each.pretrained else each.model_copy(update={"head_epochs": 0}) for each in settings]
keys = ["pretrained", "input_px", "mean", "optimizer", "learning_rate"]
keys += ["scheduler", "batch_size", "head_epochs", "epochs", "label_smoothing"]
rows = [["setting", *(spec.display_name for spec in detectors)], ["---"] * (len(detectors) + 1)]
rows += [[f"`{key}`", *(str(getattr(each, key)) for each in settings)] for key in keys]
display(Markdown("\n".join(f"| {' | '.join(row)} |" for row in rows)))

# %% [markdown]
# ## The pictures
#
# Half of them are fake, in each of the three splits: 70 % to learn from, 15 % to choose by, 15 % kept for the test.
# Near-duplicates stay in one split, and unreadable files are counted and replaced. The audit says what a file's format
# and size alone would give away: a detector is only worth something beyond that.

# %%
data = pipeline.prepare(workdir, recipe, reporter=reporter)
splits = {name: vars(counts) for name, counts in data.splits.items()}
print(data.description, splits, f"refused: {data.refused}", sep="\n")

# %% [markdown]
# Look at them before anything learns from them. The demonstration's "photographs" are made-up scenes through a
# simulated camera, its "fakes" the same through a simulated generator: only traces in the pixels tell them apart.

# %%
train = PreparedData(RunFolder(workdir).data).split("train")
for label, name in enumerate(("Photographs", "AI-generated")):
    row = np.hstack([train.squares[index] for index in np.flatnonzero(train.labels == label)[:6]])
    print(name)
    display(Image(as_jpeg(Picture.fromarray(row)), width=720))

# %% [markdown]
# ## Training
#
# The small CNN starts from nothing. The other two start from published weights and learn in two phases: the new head
# alone, then all layers. The demonstration leaves the weights out, and the first phase with them, so that it needs no
# download. The epoch with the lowest validation loss is kept; a cell that was interrupted goes on where it stopped.

# %%
for spec in detectors:
    pipeline.train(workdir, recipe, spec, reporter=reporter)

# %% [markdown]
# The curves: where the validation loss turns upwards while the training loss goes on falling, a network begins to learn
# its pictures by heart.

# %%
for name in ("loss", "accuracy"):
    curves = [Picture.open(workdir / spec.name / "plots" / f"{name}.png").convert("RGB") for spec in detectors]
    row = np.hstack([ImageOps.pad(curve, (480, 320), color="white") for curve in curves])
    display(Image(as_jpeg(Picture.fromarray(row))))

# %% [markdown]
# ## Compression
#
# What is too large to ship loses channels and learns on; the demonstration lets the compact one stand in its place.

# %%
rows = shown(detectors, recipe)
for spec in rows:
    if spec.full:
        pipeline.compress(workdir, recipe, spec.full, reporter=reporter)
print("The detectors from here on:", ", ".join(spec.display_name for spec in rows))

# %% [markdown]
# ## The test
#
# Pictures that neither training nor any choice has seen. The confusion matrix counts both kinds of mistake.

# %%
for spec in rows:
    pipeline.evaluate(workdir, recipe, spec, reporter=reporter)
matrices = [
    Picture.open(workdir / spec.name / "evaluation" / "plots" / "confusion_matrix.png").convert("RGB") for spec in rows
]
row = np.hstack([ImageOps.pad(matrix, (360, 360), color="white") for matrix in matrices])
display(Image(as_jpeg(Picture.fromarray(row))))

# %% [markdown]
# ## Export
#
# ONNX files of opset 14 in three forms: float, dynamic INT8 and static INT8. Each is compared with the checkpoint; of
# the INT8 files that lose nothing to speak of the fastest ships, and where none does, the float file.

# %%
for spec in rows:
    exported = pipeline.export(workdir, recipe, spec, reporter=reporter)
    for each in exported.variants:
        print(f"    {each.name}: {each.size_bytes / 1e6:.2f} MB, {each.latency_ms:.1f} ms a picture")

# %% [markdown]
# ## Side by side
#
# The report holds all figures. The bundle is a folder for Streamlit Community Cloud with everything in it; its README
# has the steps, and `fakelens app` starts the same page here.

# %%
bundle = pipeline.bundle(workdir, recipe, detectors)
report = pipeline.report(workdir, recipe, detectors, reporter=reporter)
text = report.with_suffix(".md").with_stem("report").read_text(encoding="utf-8")
display(Markdown(text.partition("## Comparison")[2].partition("![")[0]))

# %% [markdown]
# ## A picture of yours
#
# Set `PICTURE` to a file (in Colab: drag it into the file browser on the left first). The map shows what speaks for
# AI-generated (orange) and for a photograph (blue), inside the frame that the detector looked at. A detector that has
# seen the demonstration alone knows nothing of real pictures: believe it only about its own kind.

# %%
PICTURE = os.environ.get("FAKELENS_PICTURE", "")  # empty takes an example of the bundle
file = Path(PICTURE) if PICTURE else sorted((bundle / "examples").glob("generator*"))[0]
opened = Bundle.open(bundle)
for model in opened.models:
    detector = opened.detector(model.name)
    picture = read_picture(file.name, file.read_bytes(), [model.stored_px])
    assessment = assess(detector, picture)
    judgement = judgement_of(picture, assessment, model.threshold)
    print(f"{model.display_name}: {judgement.words}. {judgement.sentence}", *judgement.remarks, sep="\n")
    image = picture.images[model.stored_px]
    times = max(1, 320 // image.height)  # large enough to look at
    image = image.resize((times * image.width, times * image.height))
    box = tuple(times * edge for edge in assessment.box)
    mapped = overlay(image, assessment.heatmap, box, opacity=0.6)
    display(Image(as_jpeg(Picture.fromarray(np.hstack([image, mapped]))), width=512))
