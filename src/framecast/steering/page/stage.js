// The large picture: one future, the handle on its end effector, the arrow of the command.

import { colour, fitted, paint } from "./pixels.js";

export class Stage {
  constructor(app) {
    this.app = app;
    this.picture = app.get("stage-picture");
    this.overlay = app.get("stage-overlay");
    this.layers = [() => this.drawHandle()]; // a tool may add its own
    this.tool = null; // gets the pointer instead: aim(place), mark(place)
    this.cover = null; // shown instead of the future: { pixels, true: whether it is the truth }
    app.on("show", () => this.draw());
    app.on("theme", () => this.decorate());
    app.on("rest", () => this.decorate());
    app.on("welcome", () => this.greet());
    new ResizeObserver(() => this.decorate()).observe(this.overlay);
    this.listen();
  }

  greet() {
    const can = this.app.welcome.drag;
    this.overlay.classList.toggle("no-drag", !can);
    this.hint(can ? `Drag the ${this.app.welcome.has_scenes ? "gripper" : "end effector"}` : "Set a command, then run");
  }

  /** A word over the picture; an empty one fades. */
  hint(text) {
    const hint = this.app.get("hint");
    if (text) hint.textContent = text;
    hint.classList.toggle("gone", !text);
  }

  /** Where the end effector of the large future is, or null. */
  handle() {
    const { current, chosen } = this.app;
    if (this.cover) return (this.cover.true && current.true_handle) || null;
    return (current && current.handles && current.handles[Math.min(chosen, current.handles.length - 1)]) || null;
  }

  effect() {
    const { current, chosen } = this.app;
    return current.effects[Math.min(chosen, current.effects.length - 1)];
  }

  draw() {
    const { current, frames, chosen, welcome } = this.app;
    const shown = Math.min(chosen, frames.length - 1);
    paint(this.picture, this.cover ? this.cover.pixels : frames[shown], welcome.width, welcome.height);
    this.title(Boolean(this.cover && this.cover.true));
    const note = frames.length > 1 ? `future ${shown + 1} of ${frames.length}` : "";
    this.app.get("stage-note").textContent = current.depth ? note : "last true frame";
    this.app.get("stage-note").hidden = Boolean(this.tool);
    const score = current.depth && !this.tool ? current.psnr[shown] : undefined;
    const output = this.app.get("psnr");
    output.replaceChildren();
    output.classList.toggle("soft", Boolean(current.truth && !current.truth.commanded));
    if (score !== undefined) {
      const unit = document.createElement("small");
      unit.textContent = "dB";
      output.append(score.toFixed(1), unit);
    }
    if (current.depth && !this.tool) this.hint("");
    this.decorate();
  }

  title(isTrue) {
    this.app.get("stage-title").textContent = isTrue ? "Truth" : "Imagined";
    this.app.get("stage-dot").className = isTrue ? "dot true" : "dot imagined";
  }

  decorate() {
    this.surface = fitted(this.overlay);
    if (this.app.current) for (const layer of this.layers) layer(this.surface);
  }

  /** A place in the picture in CSS pixels of the overlay. */
  at([across, down]) { return [across * this.surface.width, down * this.surface.height]; }

  drawHandle() {
    const handle = this.handle();
    if (!handle) return;
    const { context } = this.surface;
    const { driver, welcome, current } = this.app;
    const [x, y] = this.at(handle);
    const accent = colour("imagined");
    context.lineCap = "round";
    const action = driver.wants() ? driver.lastAction : null;
    if (driver.pointer) this.drawGoal(context, [x, y], this.at(driver.pointer));
    if (action) {
      const [[a, b], [c, d]] = this.effect();
      const [first, second] = welcome.drag.map((dim) => action[dim]);
      const tip = this.at([handle[0] + a * first + b * second, handle[1] + c * first + d * second]);
      arrow(context, [x, y], tip, accent);
    }
    ring(context, x, y, driver.pointer ? 9 : 12, accent, current.depth === 0 && !driver.pointer);
  }

  drawGoal(context, from, to) {
    context.save();
    context.setLineDash([3, 6]);
    context.lineWidth = 1.6;
    context.strokeStyle = "#ffffffc0";
    context.beginPath();
    context.moveTo(...from);
    context.lineTo(...to);
    context.stroke();
    context.restore();
    context.lineWidth = 1.6;
    context.strokeStyle = "#ffffffe0";
    context.beginPath();
    context.arc(to[0], to[1], 6, 0, 7);
    context.stroke();
  }

  listen() {
    const { driver } = this.app;
    const place = (event) => {
      const box = this.overlay.getBoundingClientRect();
      const within = (value) => Math.max(0, Math.min(1, value));
      return [within((event.clientX - box.left) / box.width), within((event.clientY - box.top) / box.height)];
    };
    this.overlay.addEventListener("pointerdown", (event) => {
      if (!this.app.welcome || event.button || !(this.tool || this.app.welcome.drag)) return;
      this.overlay.setPointerCapture(event.pointerId);
      if (this.tool) {
        this.tool.aim(place(event));
        return;
      }
      driver.setReplaying(false);
      driver.pointer = place(event);
      driver.go();
    });
    this.overlay.addEventListener("pointermove", (event) => {
      if (!this.overlay.hasPointerCapture(event.pointerId)) return;
      if (this.tool) this.tool.aim(place(event));
      if (!driver.pointer) return;
      driver.pointer = place(event);
      this.decorate();
    });
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
      this.overlay.addEventListener(end, (event) => {
        if (this.tool && end === "pointerup") this.tool.mark(place(event));
        else if (this.tool) this.tool.aim(null);
        driver.pointer = null;
        this.decorate();
      });
    }
    this.overlay.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (this.app.welcome) this.app.keys.nudgeLift(Math.sign(-event.deltaY));
    }, { passive: false });
  }
}

export function ring(context, x, y, radius, accent, inviting) {
  context.lineWidth = 4.5;
  context.strokeStyle = "#0008";
  circle(context, x, y, radius);
  context.lineWidth = 2.2;
  context.strokeStyle = accent;
  circle(context, x, y, radius);
  context.fillStyle = "#fff";
  context.beginPath();
  context.arc(x, y, 2.2, 0, 7);
  context.fill();
  if (!inviting) return;
  context.lineWidth = 1.4;
  context.globalAlpha = 0.55;
  circle(context, x, y, radius + 7);
  context.globalAlpha = 1;
}

export function arrow(context, from, to, accent) {
  const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
  const length = Math.hypot(dx, dy);
  if (length < 3) return;
  const head = Math.min(13, 5 + length / 4);
  const angle = Math.atan2(dy, dx);
  const neck = [to[0] - Math.cos(angle) * head * 0.8, to[1] - Math.sin(angle) * head * 0.8];
  for (const [width, style] of [[7, "#0007"], [3.6, accent]]) {
    context.strokeStyle = style;
    context.fillStyle = style;
    context.lineWidth = width;
    context.lineJoin = "round";
    context.beginPath();
    context.moveTo(...from);
    context.lineTo(...neck);
    context.stroke();
    context.lineWidth = width - 2.4;
    context.beginPath();
    context.moveTo(...to);
    context.lineTo(to[0] - Math.cos(angle - 0.46) * head, to[1] - Math.sin(angle - 0.46) * head);
    context.lineTo(to[0] - Math.cos(angle + 0.46) * head, to[1] - Math.sin(angle + 0.46) * head);
    context.closePath();
    context.stroke();
    context.fill();
  }
}

function circle(context, x, y, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 7);
  context.stroke();
}
