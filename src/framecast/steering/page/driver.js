// Turns what a person wants (a pointer, keys, a stick, sliders) into actions, one step at a time.
//
// The next step is asked for when the last one has been answered, and not faster than the pace.

const ARRIVED = 0.012; // of the picture; closer to the pointer there is nothing left to do

export class Driver {
  constructor(app) {
    this.app = app;
    this.pointer = null; // where the end effector shall go, [across, down] in the picture
    this.push = [0, 0]; // keys or stick: a direction in the picture
    this.lift = 0; // of the third action
    this.running = false;
    this.replaying = false;
    this.lastAction = null;
    this.stepping = false;
    this.lastStep = 0;
    app.on("leave", () => this.halt());
  }

  get pace() { return Number(this.app.get("pace").value); }

  wants() {
    const driven = this.pointer || this.push[0] || this.push[1] || this.lift;
    return Boolean(driven || this.running || this.replaying);
  }

  halt() {
    this.app.emit("halt");
    this.pointer = null;
    this.push = [0, 0];
    this.lift = 0;
    this.setRunning(false);
    this.setReplaying(false);
  }

  setRunning(on) {
    this.running = on;
    this.app.get("run").setAttribute("aria-pressed", String(on));
    this.app.get("run").querySelector("use").setAttribute("href", on ? "#i-pause" : "#i-play");
    if (on) this.setReplaying(false);
    this.go();
  }

  setReplaying(on) {
    this.replaying = on;
    this.app.get("replay").setAttribute("aria-pressed", String(on));
    if (on) this.setRunning(false);
    this.go();
  }

  /** Keep stepping for as long as somebody wants to. */
  async go() {
    if (this.stepping) return;
    if (this.wants()) this.app.emit("drive");
    this.stepping = true;
    try {
      while (this.wants()) {
        const fields = this.next();
        if (fields) {
          const wait = 1000 / this.pace - (performance.now() - this.lastStep);
          if (wait > 0) await pause(wait);
          if (!this.wants()) break;
          this.lastStep = performance.now();
          if (!(await this.app.ask("step", fields))) this.halt();
        } else await pause(30);
      }
    } finally {
      this.stepping = false;
      this.app.emit("rest");
    }
  }

  /** The fields of the next step, or null where the pointer has been reached. */
  next() {
    const { current } = this.app;
    if (!current) return null;
    if (this.replaying) {
      if (current.recorded) return { recorded: true };
      this.setReplaying(false);
      return null;
    }
    const action = this.command();
    return action && { action };
  }

  command() {
    const { controls, welcome } = this.app;
    const action = controls.values();
    const offset = this.offset();
    if (offset && welcome.drag) {
      const far = Math.hypot(...offset) > ARRIVED;
      if (!far && this.pointer && !this.running) return null;
      const wanted = far ? this.solve(offset) : [0, 0];
      welcome.drag.forEach((dim, i) => { action[dim] = wanted[i]; });
    } else if ((this.push[0] || this.push[1]) && !welcome.drag) controls.push(action, this.push);
    if (this.lift) controls.lift(action, this.lift);
    this.lastAction = action;
    return action;
  }

  /** Where to, seen from the end effector: a vector in the picture, or null. */
  offset() {
    const handle = this.app.stage.handle();
    if (this.pointer && handle) return [this.pointer[0] - handle[0], this.pointer[1] - handle[1]];
    if (this.push[0] || this.push[1]) return [this.push[0], this.push[1]];
    return null;
  }

  /** The two actions that lead along a vector in the picture, as far as their bounds allow. */
  solve(offset) {
    const { controls, welcome, stage } = this.app;
    const effect = stage.effect();
    const [[a, b], [c, d]] = effect;
    const determinant = a * d - b * c || 1e-9;
    const wanted = [(d * offset[0] - b * offset[1]) / determinant, (a * offset[1] - c * offset[0]) / determinant];
    let share = 1;
    welcome.drag.forEach((dim, i) => {
      const bound = wanted[i] > 0 ? controls.high[dim] : controls.low[dim];
      if (Math.abs(wanted[i]) > Math.abs(bound)) share = Math.min(share, Math.abs(bound / wanted[i]));
    });
    return wanted.map((value) => value * share);
  }
}

function pause(milliseconds) {
  return new Promise((resolve) => { setTimeout(resolve, milliseconds); });
}
