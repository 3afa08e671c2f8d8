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
# From balanced images of the OpenFake data set to three detectors in one web app:
# data, training, plots, evaluation, export, deployment folder. Every cell calls a public function of **fakelens**;
# the same steps are one command, `fakelens run`.
#
# In Colab: choose a GPU (Runtime → Change runtime type), upload or clone the repository, and set `REPOSITORY` below
# to its folder or address. On your own machine `make setup` has installed everything already.

# %%
import importlib.util
import os
import subprocess
import sys

REPOSITORY = os.environ.get("FAKELENS_REPOSITORY", "fakelens")  # a folder, or git+https://… of your copy
if importlib.util.find_spec("fakelens") is None:
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", f"fakelens[train,app] @ {REPOSITORY}"
                    if "://" in REPOSITORY else f"{REPOSITORY}[train,app]"], check=True)  # fmt: skip

# %% [markdown]
# ## The recipe
#
# A recipe decides everything: which images, how each detector is trained, what an exported file may lose.
# `openfake` is the real thing (12,000 images, hours without a GPU); `demo` makes synthetic pictures and takes minutes.

# %%
from pathlib import Path

from IPython.display import HTML, Image, Markdown, display

from fakelens import pipeline
from fakelens.config import to_commented_yaml
from fakelens.detectors.registry import discover
from fakelens.recipes import load_recipe, shown

recipe = load_recipe(os.environ.get("FAKELENS_RECIPE", "demo"))
workdir = Path(os.environ.get("FAKELENS_WORKDIR", f"runs/{recipe.name}"))
detectors = [spec for spec in discover().values() if spec.runs_by_default]
print(to_commented_yaml(recipe))

# %% [markdown]
# ## Data
#
# Exactly half of the images are fake in each of the three splits; near-duplicates stay within one split; refused
# images are counted and replaced. The audit says what the files' metadata alone would give away.

# %%
data = pipeline.prepare(workdir, recipe)
print(data.description, data.splits, f"refused: {data.refused}", data.audit.sentence, sep="\n")

# %% [markdown]
# ## Three detectors
#
# A small network of our own, trained from scratch, and two pretrained ones, trained in two phases: first the new head
# alone, then all layers.

# %%
for spec in detectors:
    print(f"{spec.display_name}: {spec.summary}; weights: {spec.weights or 'none'}")

# %% [markdown]
# ## Training
#
# The epoch with the lowest validation loss is kept. An interrupted run goes on where it stopped.

# %%
for spec in detectors:
    trained = pipeline.train(workdir, recipe, spec)
    print(f"{spec.display_name}: {trained.num_parameters:,} parameters, {trained.num_epochs} epochs")

# %%
for spec in detectors:
    display(Markdown(f"### {spec.display_name}"))
    for name in ("loss", "accuracy", "learning_rate"):
        display(Image(workdir / spec.name / "plots" / f"{name}.png"))

# %% [markdown]
# ## Compression
#
# What is too large to ship loses channels, and learns on from the full detector. The compact one is a detector of its
# own in all that follows.

# %%
rows = shown(detectors, recipe)
for spec in rows:
    if spec.full:
        compression = pipeline.compress(workdir, recipe, spec.full).compression
        sizes = f"{compression.full_int8_bytes / 1e6:.1f} → {compression.int8_bytes / 1e6:.1f} MB"
        print(f"{spec.display_name}: {sizes} as static INT8")

# %% [markdown]
# ## Evaluation on the held-out test split

# %%
for spec in rows:
    pipeline.evaluate(workdir, recipe, spec)
    display(Markdown(f"### {spec.display_name}"))
    for name in ("confusion_matrix", "samples"):
        display(Image(workdir / spec.name / "evaluation" / "plots" / f"{name}.png"))

# %% [markdown]
# ## Export to ONNX and INT8
#
# Opset 14, verified against the checkpoint. The static INT8 file ships if it passes its gate, else the float file.

# %%
for spec in rows:
    exported = pipeline.export(workdir, recipe, spec)
    for variant in exported.variants:
        print(f"{spec.name} {variant.name}: {variant.size_bytes / 1e6:.2f} MB, {variant.latency_ms:.1f} ms")
    print(f"  {exported.why}")

# %% [markdown]
# ## Report and deployment folder
#
# The bundle is all that Streamlit Community Cloud needs; its README has the steps. `fakelens app` starts it here.

# %%
bundle = pipeline.bundle(workdir, recipe, detectors)
report = pipeline.report(workdir, recipe, detectors)
display(Markdown((workdir / "report" / "report.md").read_text().split("![")[0]))
display(HTML(f"The report: {report}<br>The bundle: {bundle}"))
