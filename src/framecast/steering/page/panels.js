// The smaller pictures: every future, the truth, and where the futures differ.

import { paint, paintHeat, spread } from "./pixels.js";

export class Panels {
  constructor(app) {
    this.app = app;
    this.futures = app.get("futures");
    app.on("welcome", () => this.build());
    app.on("show", () => this.draw());
  }

  build() {
    this.cells = [];
    this.futures.replaceChildren();
    for (let index = 0; index < this.app.welcome.max_futures; index++) {
      const cell = document.createElement("button");
      cell.className = "future vacant";
      cell.setAttribute("role", "radio");
      const label = document.createElement("i");
      label.textContent = String(index + 1);
      cell.append(document.createElement("canvas"), label);
      cell.addEventListener("click", () => this.pick(index));
      this.futures.append(cell);
      this.cells.push(cell);
    }
  }

  pick(index) {
    if (index < this.app.frames.length) this.app.choose(index);
    else this.app.adjust({ futures: index + 1 });
  }

  draw() {
    const { frames, chosen, welcome, current, settings } = this.app;
    this.cells.forEach((cell, index) => {
      const there = index < frames.length;
      cell.classList.toggle("vacant", !there);
      cell.setAttribute("aria-checked", String(there && index === Math.min(chosen, frames.length - 1)));
      cell.querySelector("canvas").hidden = !there;
      cell.querySelector("i").hidden = !there;
      const seed = current.step_seed === null ? settings.seed : current.step_seed;
      cell.title = there ? `Future ${index + 1}, seed ${seed + index}` : `Imagine ${index + 1} futures`;
      cell.setAttribute("aria-label", cell.title);
      if (there) paint(cell.querySelector("canvas"), frames[index], welcome.width, welcome.height);
    });
    this.drawTruth();
    this.drawHeat();
  }

  drawTruth() {
    const { truth, current, welcome } = this.app;
    const empty = this.app.get("truth-empty");
    const recording = current.start.kind === "clip";
    empty.hidden = Boolean(truth);
    let note = recording ? "recording" : "simulator, same commands";
    if (!truth) {
      note = "ended";
      empty.textContent = recording ? "The recording ends here." : "The simulation gave up here.";
    } else if (!current.truth.commanded) note = "recording, departed from";
    this.app.get("truth-note").textContent = note;
    if (truth) paint(this.app.get("truth-picture"), truth, welcome.width, welcome.height);
  }

  drawHeat() {
    const { frames, welcome, current } = this.app;
    const empty = this.app.get("heat-empty");
    const output = this.app.get("spread");
    const several = frames.length > 1;
    empty.hidden = several;
    empty.textContent = welcome.stochastic
      ? "Choose two futures or more to see where they differ."
      : "This model imagines one future only.";
    output.textContent = "";
    if (!several) return;
    const values = spread(frames, welcome.width * welcome.height);
    paintHeat(this.app.get("heat-picture"), values, welcome.width, welcome.height);
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    if (current.depth) output.textContent = `σ ${((mean / 255) * 100).toFixed(2)} %`;
  }
}
