// The contact sheet: fresh scenes and recordings to start from.

import { paint } from "./pixels.js";

export class Sheet {
  constructor(app) {
    this.app = app;
    this.dialog = app.get("sheet");
    this.starts = [];
    app.get("choose").addEventListener("click", () => this.show());
    app.get("fresh").addEventListener("click", () => this.freshScene());
    app.get("episode").addEventListener("submit", (event) => {
      event.preventDefault();
      const [number, frame] = ["episode-number", "episode-frame"].map((id) => Number(app.get(id).value));
      this.open({ kind: "clip", number, frame });
    });
  }

  fill(starts, pixels) {
    this.starts = starts;
    const { width, height } = this.app.welcome;
    const size = width * height * 3;
    const tiles = starts.map((start, index) => this.tile(start, pixels.subarray(index * size, (index + 1) * size)));
    const body = this.app.get("sheet-body");
    body.replaceChildren();
    for (const [kind, title] of [["scene", "Fresh scenes of the simulator"], ["clip", "Recordings"]]) {
      const chosen = tiles.filter((_, index) => starts[index].kind === kind);
      if (!chosen.length) continue;
      const heading = document.createElement("h3");
      heading.textContent = title;
      const grid = document.createElement("div");
      grid.className = "grid";
      grid.append(...chosen);
      body.append(heading, grid);
    }
    this.app.get("episode").hidden = !starts.some((start) => start.kind === "clip");
  }

  tile(start, pixels) {
    const tile = document.createElement("button");
    tile.className = "tile";
    tile.dataset.start = JSON.stringify(start);
    const canvas = document.createElement("canvas");
    paint(canvas, pixels, this.app.welcome.width, this.app.welcome.height);
    const label = document.createElement("span");
    label.textContent = String(start.number);
    const what = start.kind === "scene" ? "Scene" : "Episode";
    tile.setAttribute("aria-label", `${what} ${start.number}`);
    tile.append(canvas, label);
    tile.addEventListener("click", () => this.open(start));
    return tile;
  }

  show() {
    const now = this.app.current && JSON.stringify(this.app.current.start);
    for (const tile of this.dialog.querySelectorAll(".tile")) {
      tile.setAttribute("aria-current", String(tile.dataset.start === now));
    }
    this.dialog.showModal();
  }

  async open(start) {
    this.dialog.close();
    await this.app.open(start);
  }

  freshScene() {
    const number = 100 + Math.floor(Math.random() * 999_900);
    return this.open({ kind: "scene", number, frame: 0 });
  }
}
