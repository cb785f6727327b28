// The plan tool: point at an object and a place, watch candidate futures narrow, let it run.
//
// The server thinks a round at a time and acts a step at a time, and only when asked to, so that
// stopping is to ask no more. Steps are steps like any others.

import { colour } from "./pixels.js";

const MAX_STEPS = 50; // of one run
const THING = "#ffeb3c"; // colours as in the films of framecast plan
const GOAL = "#3cff5a";
const NUDGE = 0.02; // of the picture, by an arrow key
const HOLD = 5; // frames for which a preview stands still at its end
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Plan {
  constructor(app) {
    this.app = app;
    this.press = matchMedia("(pointer: coarse)").matches ? "Tap" : "Click";
    this.clear();
    this.phase = "off"; // object, place, thinking, ready, running
    app.stage.layers.push((surface) => this.draw(surface));
    app.get("plan").addEventListener("click", () => (this.on ? this.close() : this.open()));
    app.get("plan-run").addEventListener("click", () => this.flip());
    app.get("plan-gripper").addEventListener("click", () => this.reach());
    app.on("view", () => this.follow());
    app.on("leave", () => this.on && this.open());
    app.on("halt", () => this.stop());
    app.on("drive", () => this.stop());
  }

  get on() { return this.phase !== "off"; }

  get picking() { return this.phase === "object" || this.phase === "place"; }

  clear() {
    this.thing = null; // [across, down] in the picture
    this.goal = null;
    this.reaching = false; // the gripper itself is to go somewhere
    this.cursor = null; // where the keyboard or a finger points
    this.standing = null; // what the server said last
    this.round = null;
    this.preview = null;
    this.steps = 0;
  }

  open() {
    if (!this.app.current) return;
    this.app.driver.halt();
    this.clear();
    this.moment = this.app.current.moment;
    this.enter("object", `${this.press} an object`);
    this.app.stage.overlay.focus({ preventScroll: true });
  }

  close() {
    this.clear();
    this.enter("off", "");
  }

  /** Change over to a phase; whatever was under way for another one ends. */
  enter(phase, text) {
    this.phase = phase;
    this.run = {}; // names what is under way
    const { app } = this;
    const { stage } = app;
    stage.tool = this.on ? this : null;
    app.get("plan").setAttribute("aria-pressed", String(this.on));
    const gripper = app.get("plan-gripper");
    gripper.hidden = !this.picking || !app.welcome.can_reach;
    gripper.setAttribute("aria-pressed", String(this.reaching));
    const button = app.get("plan-run");
    const running = phase === "running";
    button.hidden = phase !== "ready" && !running;
    button.querySelector("span").textContent = running ? "Stop" : "Run";
    button.querySelector("use").setAttribute("href", running ? "#i-pause" : "#i-play");
    stage.overlay.classList.toggle("picking", this.picking);
    stage.overlay.setAttribute("aria-label", this.label());
    stage.hint(this.picking ? text : "");
    this.say(this.picking ? "" : text);
    this.cover();
    stage.draw();
    this.play();
  }

  say(text) { this.app.get("plan-note").textContent = text; }

  label() {
    if (this.picking) return "Plan: the arrow keys move the cross, Enter places the mark, Escape cancels";
    if (this.on) return "Plan: Space runs and stops it, Escape ends it";
    return "Drag the end effector, or use the arrow keys";
  }

  /** The large picture shows what the plan sees: the truth, where it obeys. */
  cover() {
    const { app } = this;
    const { truth } = app.current || {};
    const sees = Boolean(truth && truth.commanded && app.truth);
    app.stage.cover = this.on && sees ? { pixels: app.truth, true: true } : null;
    this.note();
  }

  /** What is planned from, and how far the planner is. */
  note() {
    const tag = this.app.get("plan-sight");
    const { cover } = this.app.stage;
    tag.hidden = !this.on;
    const from = cover && cover.true ? "plans from the truth" : "plans from imagined frames";
    const { round } = this;
    const thinking = round && !this.preview && !this.picking;
    const cost = thinking ? ` · round ${round.index} of ${round.count} · cost ${round.best.toPrecision(2)}` : "";
    tag.textContent = from + cost;
  }

  /** A pointer or a key points somewhere. */
  aim(place) {
    if (this.phase === "ready" && place) this.open();
    this.cursor = this.picking ? place : null;
    this.app.stage.decorate();
  }

  /** A mark is placed. */
  mark(place) {
    const within = place.map((share) => Math.min(0.999, Math.max(0, share)));
    this.cursor = null;
    if (this.phase === "object") {
      this.thing = within;
      this.enter("place", `${this.press} where it should go`);
    } else if (this.phase === "place") {
      this.goal = within;
      this.begin();
    }
  }

  reach() {
    this.reaching = !this.reaching;
    this.thing = null;
    if (this.reaching) this.enter("place", `${this.press} where the gripper should go`);
    else this.enter("object", `${this.press} an object`);
    this.app.stage.overlay.focus({ preventScroll: true });
  }

  async begin() {
    this.enter("thinking", "imagining paths");
    const { run, thing, goal } = this;
    const asked = await this.app.ask("plan", { thing, goal, future: this.app.chosen });
    if (this.run !== run) return;
    if (!asked || !(await this.think(run))) {
      if (this.run === run) this.open();
      return;
    }
    this.enter("ready", this.left());
  }

  /** Whole rounds until there is a plan; false where that is given up. */
  async think(run) {
    while (this.standing.undecided) {
      if (!(await this.app.ask("think")) || this.run !== run) return false;
    }
    return true;
  }

  flip() {
    if (this.phase === "running") this.stop();
    else if (this.phase === "ready") this.start();
  }

  async start() {
    this.app.driver.halt();
    this.preview = null;
    this.steps = 0;
    this.enter("running", this.standing ? this.left() : "");
    const { run } = this;
    while (this.steps < MAX_STEPS && !(this.standing.reached && this.steps)) {
      if (!(await this.think(run))) break;
      await this.pause();
      if (this.run !== run || !(await this.act()) || this.run !== run) break;
    }
    if (this.run !== run) return;
    const { reached } = this.standing;
    this.enter("ready", reached ? `reached after ${this.steps} steps` : `${this.steps} steps · ${this.left()}`);
  }

  async act() {
    this.acting = true;
    const acted = await this.app.ask("act");
    this.acting = false;
    this.lastStep = performance.now();
    this.steps += Number(Boolean(acted));
    return acted;
  }

  /** Not faster than the pace. */
  pause() {
    const wait = 1000 / this.app.driver.pace - (performance.now() - (this.lastStep || 0));
    return new Promise((resolve) => { setTimeout(resolve, Math.max(0, wait)); });
  }

  stop() {
    if (this.phase === "running") this.enter("ready", `stopped · ${this.left()}`);
  }

  left() {
    const { remaining, unit } = this.standing;
    return unit === "m" ? `${(remaining * 100).toFixed(1)} cm to go` : `${remaining.toFixed(1)} px to go`;
  }

  /** What the server says while it plans. */
  hear(header, pixels) {
    if (!this.on) return;
    if (header.type === "standing") this.stand(header);
    else if (header.type === "round") this.narrow(header);
    else this.foresee(header, pixels);
    this.app.stage.decorate();
  }

  stand(header) {
    this.standing = header;
    this.goal = header.goal;
    if (!this.reaching) this.thing = header.thing;
    if (this.phase === "running") this.say(`step ${this.steps + 1} · ${this.left()}`);
  }

  narrow(header) {
    this.round = header;
    if (header.index === 1) this.preview = null;
    this.app.emit("round", header);
    this.note();
  }

  foresee(header, pixels) {
    const size = this.app.welcome.width * this.app.welcome.height * 3;
    const frames = Array.from({ length: header.count }, (_, i) => pixels.subarray(i * size, (i + 1) * size));
    this.preview = { ...header, frames, at: 0 };
    this.standing.undecided = false;
  }

  /** The imagined best future, over and over, while the plan waits to be run. */
  play() {
    clearTimeout(this.timer);
    if (this.phase !== "ready" || !this.preview || this.steps) return;
    const { preview, app } = this;
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const show = () => {
      const last = preview.count - 1;
      const at = still ? last : Math.min(last, preview.at % (preview.count + HOLD));
      preview.shown = at + 1;
      app.stage.cover = { pixels: preview.frames[at], true: false };
      app.get("plan-sight").textContent = `imagined · +${at + 1} of ${preview.count}`;
      app.stage.draw();
      preview.at += 1;
      if (!still) this.timer = setTimeout(show, 1000 / app.welcome.fps);
    };
    show();
  }

  /** Somebody else's step, undo or branch: the goal stays, what was planned does not. */
  follow() {
    if (!this.on) return;
    const moved = this.app.current.moment !== this.moment;
    this.moment = this.app.current.moment;
    if (moved && !this.acting) {
      if (this.picking) this.open();
      else {
        Object.assign(this, { thing: null, round: null, preview: null });
        if (this.standing) this.standing.undecided = true;
        this.enter("ready", "another moment · Run plans from here");
      }
    }
    if (this.phase !== "ready" || !this.preview || this.steps) this.cover();
  }

  /** Whether a key is the plan's own. */
  key(name) {
    if (!this.on) return false;
    const arrow = ARROWS[name];
    if (name === "Escape") this.cancel();
    else if (arrow && this.picking) {
      const from = this.cursor || this.thing || [0.5, 0.5];
      this.aim(from.map((share, i) => Math.min(0.99, Math.max(0.01, share + arrow[i] * NUDGE))));
    } else if ((name === "Enter" || name === " ") && this.picking) this.mark(this.cursor || [0.5, 0.5]);
    else if (name === "Enter" || name === " ") this.flip();
    else if (name === "g" && this.picking && this.app.welcome.can_reach) this.reach();
    else return false;
    return true;
  }

  cancel() {
    if (this.phase === "running") this.stop();
    else if (this.phase === "object" || this.phase === "ready") this.close();
    else this.open();
  }

  draw({ context }) {
    if (!this.on) return;
    context.save();
    context.lineJoin = context.lineCap = "round";
    if (this.round && !this.picking) this.drawRound(context);
    if (this.preview && !this.picking) this.drawBest(context);
    if (this.goal && this.thing) this.drawWay(context);
    if (this.thing) this.drawMark(context, this.thing, THING, false);
    if (this.goal) this.drawMark(context, this.goal, GOAL, true);
    if (this.cursor) this.drawMark(context, this.cursor, this.phase === "object" ? THING : GOAL, true);
    context.restore();
  }

  /** Every candidate thin, the elites bright, the best last. */
  drawRound(context) {
    const { gripper, thing, elites } = this.round;
    const settled = this.phase !== "thinking" && this.preview; // only a backdrop now
    const others = (gripper || thing).filter((_, index) => !elites.includes(index));
    for (const path of others) this.line(context, path, "#ffffff", 1, settled ? 0.12 : 0.34);
    for (const index of [...elites].reverse()) {
      if (thing) this.line(context, thing[index], THING, 1.4, settled ? 0.25 : 0.8);
      if (gripper) this.line(context, gripper[index], colour("imagined"), 2, settled ? 0.3 : 0.95);
    }
  }

  drawBest(context) {
    const { gripper, thing, shown } = this.preview;
    for (const [path, style] of [[thing, THING], [gripper, colour("imagined")]]) {
      if (!path) continue;
      this.line(context, path, "#000000", 5, 0.45);
      this.line(context, path, style, 2.6, 1);
      const showing = this.phase === "ready" && shown;
      this.dot(context, path[showing ? shown : path.length - 1], style);
    }
  }

  drawWay(context) {
    context.setLineDash([2, 6]);
    this.line(context, [this.thing, this.goal], "#ffffff", 1.6, 0.8);
    context.setLineDash([]);
  }

  line(context, path, style, width, alpha) {
    context.globalAlpha = alpha;
    context.strokeStyle = style;
    context.lineWidth = width;
    context.beginPath();
    for (const place of path) context.lineTo(...this.app.stage.at(place));
    context.stroke();
    context.globalAlpha = 1;
  }

  dot(context, place, style) {
    const [x, y] = this.app.stage.at(place);
    context.fillStyle = style;
    context.strokeStyle = "#000a";
    context.lineWidth = 1.5;
    context.beginPath();
    context.arc(x, y, 4.5, 0, 7);
    context.fill();
    context.stroke();
  }

  /** A ring, or a ring with a cross. */
  drawMark(context, place, style, crossed) {
    const [x, y] = this.app.stage.at(place);
    for (const [width, stroke] of [[5, "#000a"], [2.2, style]]) {
      context.lineWidth = width;
      context.strokeStyle = stroke;
      context.beginPath();
      context.arc(x, y, 10, 0, 7);
      if (crossed) {
        for (const [across, down] of Object.values(ARROWS)) {
          context.moveTo(x + across * 5, y + down * 5);
          context.lineTo(x + across * 15, y + down * 15);
        }
      }
      context.stroke();
    }
  }
}
