"""Draw the lower halves of eight digits from their upper halves: `python inpaint.py [TARGET]` writes inpaint.png.

Rows: the digit, what the device is shown, the mean of the draws, and three draws.
"""

import sys
from pathlib import Path

import matplotlib
import numpy as np

import spucc

matplotlib.use("Agg")
from matplotlib import pyplot

HERE = Path(__file__).resolve().parent
target = sys.argv[1] if len(sys.argv) > 1 else "ideal-spin"
with np.load(HERE / "digits_rbm.npz") as file:
    data = {name: file[name] for name in file.files}

columns = []
for image in data["images"]:
    model = {**{k: data[k] for k in "Wbc"}, "image": image}
    program = spucc.compile(HERE / "digits_rbm.spu", data=model, target=target)
    result = program.run(samples=400, chains=4, backend="pbit", seed=1)
    seen = np.where(np.arange(64) < 32, image, np.nan)
    columns.append([image, seen, result["pixels"], *result["draws"][[50, 150, 250]]])

figure, axes = pyplot.subplots(6, len(columns), figsize=(len(columns), 6.4))
names = ["digit", "seen", "mean", "draw", "draw", "draw"]
for row, name in enumerate(names):
    for at, column in enumerate(columns):
        axis = axes[row][at]
        axis.imshow(np.reshape(column[row], (8, 8)), cmap="gray_r", vmin=0, vmax=1)
        axis.set(xticks=[], yticks=[], facecolor="#f3d9b1")
    axes[row][0].set_ylabel(name)
figure.tight_layout(pad=0.4)
figure.savefig("inpaint.png", dpi=120)
print(f"inpaint.png: {len(columns)} digits on {program.device.name}")
