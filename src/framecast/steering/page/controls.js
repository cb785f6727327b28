// The command as sliders, and what the futures are drawn from.

export class Controls {
  constructor(app) {
    this.app = app;
    this.low = [];
    this.high = [];
    app.on("welcome", () => this.build());
    app.on("view", () => this.follow());
    app.on("settings", () => this.reflect());
    app.get("resample").addEventListener("click", () => app.ask("resample"));
    app.get("latent").addEventListener("change", (event) => app.adjust({ latent: event.target.checked }));
    app.get("seed").addEventListener("change", (event) => {
      const seed = Math.round(Number(event.target.value));
      if (event.target.value !== "" && seed >= 0 && seed < 2 ** 31) app.adjust({ seed });
      else this.reflect();
    });
    const pace = app.get("pace");
    const saved = localStorage.getItem("framecast-pace");
    if (saved) pace.value = saved;
    pace.addEventListener("input", () => {
      localStorage.setItem("framecast-pace", pace.value);
      this.reflect();
    });
  }

  build() {
    const { controls, drag, stochastic } = this.app.welcome;
    this.low = controls.low;
    this.high = controls.high;
    this.holds = controls.holds;
    this.rest = controls.rest;
    this.set = controls.rest.slice();
    this.held = new Set(); // sliders under a finger
    const list = this.app.get("sliders");
    list.replaceChildren();
    this.rows = controls.names.map((name, dim) => this.row(name, controls.units[dim], dim));
    list.append(...this.rows.map((row) => row.element));
    this.app.get("command-note").textContent = drag
      ? `drag moves ${drag.map((dim) => controls.names[dim]).join(", ")}`
      : `${controls.names.length} numbers`;
    for (const id of ["latent", "seed", "resample"]) this.app.get(id).disabled = !stochastic;
    this.buildCount();
    this.reflect();
  }

  buildCount() {
    const group = this.app.get("count");
    group.replaceChildren();
    for (let count = 1; count <= this.app.welcome.max_futures; count++) {
      const button = document.createElement("button");
      button.textContent = String(count);
      button.setAttribute("role", "radio");
      button.setAttribute("aria-label", `${count} futures`);
      button.addEventListener("click", () => this.app.adjust({ futures: count }));
      group.append(button);
    }
  }

  row(name, unit, dim) {
    const element = document.createElement("label");
    element.className = "slider";
    const label = document.createElement("span");
    label.className = "name";
    label.textContent = label.title = name;
    const input = document.createElement("input");
    input.type = "range";
    input.min = this.low[dim];
    input.max = this.high[dim];
    input.step = "any";
    input.disabled = this.low[dim] === this.high[dim];
    const output = document.createElement("output");
    element.append(label, input, output);
    const release = () => {
      this.held.delete(dim);
      if (!this.holds[dim]) this.put(dim, this.rest[dim]);
      this.reflect();
    };
    input.addEventListener("input", () => {
      this.set[dim] = Number(input.value);
      this.reflect();
    });
    input.addEventListener("pointerdown", () => this.held.add(dim));
    for (const end of ["pointerup", "pointercancel"]) input.addEventListener(end, release);
    element.addEventListener("dblclick", () => this.put(dim, this.rest[dim]));
    return { element, input, output, unit };
  }

  put(dim, value) {
    this.set[dim] = Math.max(this.low[dim], Math.min(this.high[dim], value));
    this.reflect();
  }

  /** The action as it is set now. */
  values() { return this.set.slice(); }

  /** Without a drag, the arrow keys move the first two numbers that spring back. */
  push(action, [across, down]) {
    const dims = this.holds.flatMap((holds, dim) => (holds ? [] : [dim])).slice(0, 2);
    [across, -down].forEach((share, i) => {
      const dim = dims[i];
      if (dim !== undefined && share) action[dim] = share > 0 ? this.high[dim] : this.low[dim];
    });
  }

  /** The number that W and S move: the first that springs back and is not dragged. */
  lift(action, share) {
    const drag = this.app.welcome.drag || [];
    const dim = this.holds.findIndex((holds, index) => !holds && !drag.includes(index));
    if (dim >= 0) action[dim] = (share > 0 ? this.high[dim] : -this.low[dim]) * share * 0.7;
  }

  flip() {
    const dim = this.holds.lastIndexOf(true);
    if (dim < 0) return;
    const middle = (this.low[dim] + this.high[dim]) / 2;
    this.put(dim, this.set[dim] > middle ? this.low[dim] : this.high[dim]);
  }

  /** Numbers that hold stay where a replayed or revisited moment left them. */
  follow() {
    const { action } = this.app.current;
    if (!action || this.app.driver.running) return;
    this.holds.forEach((holds, dim) => {
      if (holds && !this.held.has(dim)) this.set[dim] = action[dim];
    });
    this.reflect();
  }

  reflect() {
    const { settings, driver, welcome, current } = this.app;
    if (!welcome) return;
    const shown = driver.wants() && current && current.action ? current.action : null;
    this.rows.forEach(({ element, input, output, unit }, dim) => {
      const live = shown && !this.held.has(dim) ? shown[dim] : this.set[dim];
      input.value = live;
      element.classList.toggle("dragged", Boolean(shown) && live !== this.set[dim]);
      output.replaceChildren(text(live, unit), small(unit));
      const span = this.high[dim] - this.low[dim] || 1;
      const ends = [live, this.rest[dim]].map((value) => ((value - this.low[dim]) / span) * 100);
      input.style.setProperty("--lo", `${Math.min(...ends)}%`);
      input.style.setProperty("--hi", `${Math.max(...ends)}%`);
    });
    [...this.app.get("count").children].forEach((button, index) => {
      button.setAttribute("aria-checked", String(index + 1 === settings.futures));
    });
    const seed = this.app.get("seed");
    if (document.activeElement !== seed) seed.value = settings.seed;
    this.app.get("latent").checked = settings.latent;
    const pace = this.app.get("pace");
    this.app.get("pace-value").replaceChildren(pace.value, small("steps/s"));
    pace.style.setProperty("--lo", "0%");
    pace.style.setProperty("--hi", `${((pace.value - pace.min) / (pace.max - pace.min)) * 100}%`);
  }
}

function text(value, unit) {
  const digits = unit === "m" ? 3 : Math.abs(value) >= 100 ? 0 : 2;
  return (Object.is(Number(value.toFixed(digits)), -0) ? 0 : value).toFixed(digits).replace("-", "−");
}

function small(unit) {
  const element = document.createElement("small");
  element.textContent = unit === "1" ? "" : unit;
  return element;
}
