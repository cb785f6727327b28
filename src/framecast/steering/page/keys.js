// Keyboard and gamepad.

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const DEAD_ZONE = 0.18;
const STEP = 0.09; // of the picture: how far an arrow key asks the end effector to go

export class Keys {
  constructor(app) {
    this.app = app;
    this.down = new Set();
    this.buttons = [];
    const { timeline } = app;
    this.once = {
      z: () => timeline.undo(),
      x: () => timeline.redo(),
      r: () => app.ask("resample"),
      g: () => app.controls.flip(),
      p: () => app.driver.setReplaying(!app.driver.replaying),
      " ": () => app.driver.setRunning(!app.driver.running),
      Enter: () => timeline.step(),
      Home: () => timeline.go(0),
      t: () => app.plan.open(),
    };
    window.addEventListener("keydown", (event) => this.press(event));
    window.addEventListener("keyup", (event) => this.release(event.key));
    window.addEventListener("blur", () => this.releaseAll());
    window.addEventListener("gamepadconnected", () => this.watch());
  }

  press(event) {
    const { target, key } = event;
    const writing = target.closest("input, textarea, dialog");
    const pressing = target.closest("button") && (key === " " || key === "Enter");
    if (!this.app.current || writing || pressing || event.ctrlKey || event.metaKey || event.altKey) return;
    const name = key.length === 1 ? key.toLowerCase() : key;
    if (this.app.plan.key(name)) {
      event.preventDefault();
      return;
    }
    if (key in ARROWS || name === "w" || name === "s") this.down.add(name);
    else if (/^[1-9]$/.test(name)) this.app.adjust({ futures: Number(name) });
    else if (this.once[name]) {
      if (!event.repeat) this.once[name]();
    } else return;
    event.preventDefault();
    this.drive();
  }

  release(key) {
    if (this.down.delete(key.length === 1 ? key.toLowerCase() : key)) this.drive();
  }

  releaseAll() {
    this.down.clear();
    this.drive();
  }

  drive() {
    const { driver } = this.app;
    const push = [0, 0];
    for (const [key, [across, down]] of Object.entries(ARROWS)) {
      if (!this.down.has(key)) continue;
      push[0] += across * STEP;
      push[1] += down * STEP;
    }
    driver.push = push;
    driver.lift = Number(this.down.has("w")) - Number(this.down.has("s"));
    if (driver.wants()) {
      driver.setReplaying(false);
      driver.go();
    }
  }

  /** The wheel lifts and lowers for as long as it turns. */
  nudgeLift(direction) {
    const { driver } = this.app;
    driver.lift = direction;
    driver.go();
    clearTimeout(this.wheel);
    this.wheel = setTimeout(() => { driver.lift = 0; }, 140);
  }

  watch() {
    if (this.watching) return;
    this.watching = true;
    const look = () => {
      const pad = [...navigator.getGamepads()].find(Boolean);
      if (!pad) {
        this.watching = false;
        return;
      }
      this.feel(pad);
      requestAnimationFrame(look);
    };
    look();
  }

  feel(pad) {
    const { driver, timeline, controls, current } = this.app;
    const live = (value) => (Math.abs(value || 0) > DEAD_ZONE ? value : 0);
    const push = [live(pad.axes[0]) * STEP, live(pad.axes[1]) * STEP];
    const lift = -live(pad.axes[3]);
    const moved = push[0] || push[1] || lift;
    if (current && (moved || this.padMoved)) {
      driver.push = push;
      driver.lift = lift;
      driver.go();
    }
    this.padMoved = moved;
    const pressed = pad.buttons.map((button) => button.pressed);
    if (pressed[0] && !this.buttons[0]) controls.flip();
    if (pressed[1] && !this.buttons[1]) timeline.undo();
    this.buttons = pressed;
  }
}
