// The tree of moments: steps to the right, branches below each other, PSNR above.

import { colour, fitted } from "./pixels.js";

const LEFT = 34;
const CURVE = 62; // height of the PSNR curve
const LANE = 15;

export class Timeline {
  constructor(app) {
    this.app = app;
    this.canvas = app.get("tree");
    this.wanted = null;
    for (const name of ["show", "theme", "leave"]) app.on(name, () => this.draw());
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    const press = { home: () => this.go(0), undo: () => this.undo(), redo: () => this.redo() };
    for (const [id, action] of Object.entries(press)) app.get(id).addEventListener("click", action);
    app.get("step").addEventListener("click", () => this.step());
    app.get("run").addEventListener("click", () => app.driver.setRunning(!app.driver.running));
    app.get("replay").addEventListener("click", () => app.driver.setReplaying(!app.driver.replaying));
    this.listen();
  }

  undo() {
    const { current } = this.app;
    if (current && current.parent !== null) this.go(current.parent);
  }

  redo() {
    const child = this.app.current && this.app.visited.get(this.app.current.moment);
    if (child !== undefined) this.go(child);
  }

  step() {
    if (!this.app.connection.busy) this.app.ask("step", { action: this.app.controls.values() });
  }

  /** Show a moment; while one is on its way only the latest wish counts. */
  async go(number) {
    this.app.driver.halt();
    this.wanted = number;
    if (this.going) return;
    this.going = true;
    while (this.wanted !== null) {
      const next = this.wanted;
      this.wanted = null;
      if (!this.app.current || next !== this.app.current.moment) await this.app.ask("go", { moment: next });
    }
    this.going = false;
  }

  /** Rows for all moments: a first child goes on in its parent's row, others open new ones. */
  layout() {
    const { moments } = this.app;
    const children = new Map();
    for (const moment of moments.values()) {
      if (moment.parent === null) continue;
      if (!children.has(moment.parent)) children.set(moment.parent, []);
      children.get(moment.parent).push(moment.moment);
    }
    const lanes = new Map([[0, 0]]);
    let last = 0;
    const open = moments.has(0) ? [0] : [];
    while (open.length) {
      const number = open.pop();
      if (!lanes.has(number)) lanes.set(number, ++last);
      const [first, ...others] = children.get(number) || [];
      for (const other of others.reverse()) open.push(other);
      if (first !== undefined) {
        lanes.set(first, lanes.get(number));
        open.push(first);
      }
    }
    const deepest = Math.max(8, ...[...moments.values()].map((moment) => moment.depth));
    const room = this.canvas.clientWidth - LEFT - 16;
    this.stepWidth = Math.min(26, room / deepest);
    const rows = this.canvas.clientHeight - CURVE - 20;
    this.lane = Math.min(LANE, rows / Math.max(1, last));
    this.places = new Map();
    for (const moment of moments.values()) {
      const x = LEFT + moment.depth * this.stepWidth;
      this.places.set(moment.moment, [x, CURVE + 18 + lanes.get(moment.moment) * this.lane]);
    }
  }

  draw() {
    const { app } = this;
    const { context, width, height } = fitted(this.canvas);
    if (!app.current) return;
    this.layout();
    this.line = new Set(app.line());
    this.drawCurve(context, width);
    this.drawBranches(context);
    this.drawMarker(context, height);
    const { current } = app;
    app.get("undo").disabled = app.get("home").disabled = current.parent === null;
    app.get("redo").disabled = !app.visited.has(current.moment);
    app.get("replay").hidden = current.start.kind !== "clip";
    app.get("replay").disabled = !current.recorded;
    const seconds = (current.depth / app.welcome.fps).toFixed(1);
    app.get("clock").textContent = `+${current.depth} · ${seconds} s\n${current.milliseconds.toFixed(0)} ms a step`;
  }

  drawBranches(context) {
    const { moments, current } = this.app;
    const dot = Math.max(1.6, Math.min(3.4, this.stepWidth / 4));
    context.lineWidth = 2;
    for (const chosen of [false, true]) {
      for (const moment of moments.values()) {
        const on = this.line.has(moment.moment);
        if (on !== chosen) continue;
        const [x, y] = this.places.get(moment.moment);
        context.strokeStyle = context.fillStyle = colour(on ? "imagined" : "strong-line");
        const from = this.places.get(moment.parent);
        if (from) {
          context.beginPath();
          context.moveTo(...from);
          const turn = Math.min(this.stepWidth, 12);
          if (from[1] !== y) context.bezierCurveTo(from[0] + turn / 2, from[1], x - turn, y, x - turn / 3, y);
          context.lineTo(x, y);
          context.stroke();
        }
        context.beginPath();
        context.arc(x, y, moment.parent === null ? 4.5 : dot, 0, 7);
        if (moment.parent === null) context.fillStyle = colour("ink");
        context.fill();
      }
    }
    const [x, y] = this.places.get(current.moment);
    context.fillStyle = colour("card");
    context.strokeStyle = colour("imagined");
    context.lineWidth = 2.6;
    context.beginPath();
    context.arc(x, y, 6, 0, 7);
    context.fill();
    context.stroke();
  }

  /** PSNR along the line shown: the large future strong, the others faint. */
  drawCurve(context, width) {
    const { moments, chosen, current } = this.app;
    const line = [...this.line].map((number) => moments.get(number)).filter((moment) => moment && moment.depth);
    const scores = line.flatMap((moment) => moment.psnr);
    const low = Math.floor(Math.min(16, ...scores) / 4) * 4;
    const high = Math.ceil(Math.min(44, Math.max(32, ...scores)) / 4) * 4;
    const y = (score) => 8 + (1 - (Math.min(score, high) - low) / (high - low)) * (CURVE - 14);
    context.font = `10px ${colour("mono")}`;
    context.textAlign = "right";
    context.textBaseline = "middle";
    context.lineWidth = 1;
    for (const score of [low, (low + high) / 2, high]) {
      context.strokeStyle = colour("line");
      context.beginPath();
      context.moveTo(LEFT, Math.round(y(score)) + 0.5);
      context.lineTo(width - 8, Math.round(y(score)) + 0.5);
      context.stroke();
      context.fillStyle = colour("soft");
      context.fillText(score.toFixed(0), LEFT - 7, y(score));
    }
    context.textAlign = "left";
    context.fillText("PSNR dB", LEFT + 5, y(high) + 8);
    context.lineJoin = "round";
    const futures = Math.max(0, ...line.map((moment) => moment.psnr.length));
    for (let future = futures - 1; future >= -1; future--) {
      const shown = future < 0 ? Math.min(chosen, futures - 1) : future;
      context.globalAlpha = future < 0 ? 1 : 0.22;
      context.strokeStyle = colour("imagined");
      context.lineWidth = future < 0 ? 2 : 1;
      context.beginPath();
      for (const moment of line) {
        const score = moment.psnr[shown];
        if (score !== undefined) context.lineTo(LEFT + moment.depth * this.stepWidth, y(score));
      }
      context.stroke();
    }
    context.globalAlpha = 1;
    const score = current.depth ? current.psnr[Math.min(chosen, current.psnr.length - 1)] : undefined;
    if (score === undefined) return;
    context.fillStyle = colour("imagined");
    context.beginPath();
    context.arc(LEFT + current.depth * this.stepWidth, y(score), 3.4, 0, 7);
    context.fill();
  }

  drawMarker(context, height) {
    const x = this.places.get(this.app.current.moment)[0];
    context.save();
    context.globalCompositeOperation = "destination-over";
    context.fillStyle = colour("imagined-soft");
    context.beginPath();
    context.roundRect(x - 7, 2, 14, height - 4, 7);
    context.fill();
    context.restore();
  }

  listen() {
    const find = (event, alongLine) => {
      const box = this.canvas.getBoundingClientRect();
      const [x, y] = [event.clientX - box.left, event.clientY - box.top];
      let best = null;
      let nearest = Infinity;
      for (const [number, place] of this.places || []) {
        if (alongLine && !this.line.has(number)) continue;
        const gap = Math.hypot(place[0] - x, alongLine ? 0 : (place[1] - y) * 2);
        if (gap < nearest) [best, nearest] = [number, gap];
      }
      return best;
    };
    let scrubbing = false;
    this.canvas.addEventListener("pointerdown", (event) => {
      if (!this.app.current) return;
      this.canvas.setPointerCapture(event.pointerId);
      scrubbing = true;
      const box = this.canvas.getBoundingClientRect();
      const number = find(event, event.clientY - box.top < CURVE + 8);
      if (number !== null) this.go(number);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      const number = scrubbing ? find(event, true) : null;
      if (number !== null) this.go(number);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      this.canvas.addEventListener(end, () => { scrubbing = false; });
    }
  }
}
