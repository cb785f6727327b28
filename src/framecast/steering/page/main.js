// Puts the page together. Modules know each other only through `app`: what is shown now, events,
// and requests to the server. A new tool is a module that is handed `app`, like those below.

import { Connection } from "./connection.js";
import { Driver } from "./driver.js";
import { Stage } from "./stage.js";
import { Panels } from "./panels.js";
import { Controls } from "./controls.js";
import { Timeline } from "./timeline.js";
import { Sheet } from "./sheet.js";
import { Keys } from "./keys.js";
import { Plan } from "./plan.js";
import { Sharing, readLink } from "./sharing.js";

class App extends EventTarget {
  constructor() {
    super();
    this.welcome = null; // what the server says about the model
    this.moments = new Map(); // number -> header of every moment of the tree
    this.current = null; // header of the moment shown
    this.frames = []; // pixels of each future shown
    this.truth = null; // pixels of the truth, or null
    this.chosen = 0; // which future is shown large
    this.visited = new Map(); // number -> the child visited last, for redo
    this.settings = { futures: 1, seed: 0, latent: true };
  }

  on(name, listener) { this.addEventListener(name, (event) => listener(event.detail)); }
  emit(name, detail) { this.dispatchEvent(new CustomEvent(name, { detail })); }

  get(id) { return document.getElementById(id); }

  /** Ask the server; views show themselves as they come. Resolves when the answer is complete. */
  async ask(type, fields = {}) {
    try {
      return await this.connection.ask(type, fields);
    } catch (error) {
      this.toast(error.message);
      return null;
    }
  }

  async open(start, path = []) {
    this.emit("leave");
    this.moments.clear();
    this.visited.clear();
    this.chosen = Math.min(this.chosen, this.settings.futures - 1);
    await this.ask("open", { start, path });
  }

  async adjust(change) {
    Object.assign(this.settings, change);
    this.chosen = Math.min(this.chosen, this.settings.futures - 1);
    await this.ask("adjust", this.settings);
    this.emit("settings");
  }

  choose(future) {
    this.chosen = future;
    this.emit("show");
  }

  /** The steps from the start to a moment, as a link holds them; nine digits are a whole float32. */
  pathTo(number) {
    const path = [];
    for (let at = this.moments.get(number); at && at.parent !== null; at = this.moments.get(at.parent)) {
      path.push({ action: at.action.map((value) => Number(value.toPrecision(9))), seed: at.step_seed });
    }
    return path.reverse();
  }

  /** The moments from the start through the present one to where redo leads. */
  line() {
    const numbers = [];
    let at = this.current && this.current.moment;
    for (; at !== null && at !== undefined; at = this.moments.get(at).parent) numbers.unshift(at);
    let next = this.current && this.visited.get(this.current.moment);
    for (; next !== undefined; next = this.visited.get(next)) numbers.push(next);
    return numbers;
  }

  show(header, pixels) {
    const size = this.welcome.width * this.welcome.height * 3;
    this.frames = [];
    for (let i = 0; i < header.futures; i++) this.frames.push(pixels.subarray(i * size, (i + 1) * size));
    const rest = pixels.subarray(header.futures * size);
    this.truth = rest.length ? rest : null;
    this.current = header;
    this.settings.seed = header.seed;
    this.moments.set(header.moment, header);
    if (header.parent !== null) this.visited.set(header.parent, header.moment);
    this.emit("view");
    this.emit("show");
  }

  toast(text) {
    const toast = this.get("toast");
    toast.textContent = text;
    toast.hidden = false;
    clearTimeout(this.toastTimer);
    this.toastTimer = setTimeout(() => { toast.hidden = true; }, 5000);
  }
}

function describe(app) {
  const welcome = app.welcome;
  document.title = `${welcome.title} · framecast`;
  document.documentElement.style.setProperty("--ratio", `${welcome.width} / ${welcome.height}`);
  app.get("model-title").textContent = welcome.title;
  const millions = (welcome.parameters / 1e6).toFixed(1);
  app.get("model-facts").textContent =
    `${millions} M parameters · ${welcome.width}×${welcome.height} at ${welcome.fps} a second · ${welcome.source}`;
  app.get("fresh").hidden = !welcome.has_scenes;
}

/** The theme of the system, until the person chooses. */
function themes(app) {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const set = (name) => {
    document.documentElement.dataset.theme = name;
    app.emit("theme");
  };
  const saved = localStorage.getItem("framecast-theme");
  set(saved || (dark.matches ? "dark" : "light"));
  dark.addEventListener("change", () => {
    if (!localStorage.getItem("framecast-theme")) set(dark.matches ? "dark" : "light");
  });
  app.get("theme").addEventListener("click", () => {
    const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    localStorage.setItem("framecast-theme", next);
    set(next);
  });
}

function dialogs() {
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog || event.target.closest("[data-close]")) dialog.close();
    });
  }
}

async function begin(app, sheet) {
  const known = app.current && {
    start: app.current.start,
    path: app.pathTo(app.current.moment).slice(0, app.welcome.max_path),
  };
  const link = known || (await readLink(location.hash).catch(() => {
    app.toast("That link is cut off or of another kind; here is a fresh start.");
    return null;
  }));
  if (link && link.settings) Object.assign(app.settings, link.settings);
  await app.ask("adjust", app.settings);
  const first = sheet.starts[0];
  await app.open(link ? link.start : first, link ? link.path : []);
  if (!app.current) await app.open(first);
  app.emit("settings");
}

const app = new App();
window.framecast = app; // for the curious, and for tests
dialogs();
themes(app);
app.driver = new Driver(app);
app.stage = new Stage(app);
app.panels = new Panels(app);
app.controls = new Controls(app);
app.timeline = new Timeline(app);
app.sharing = new Sharing(app);
app.plan = new Plan(app);
app.keys = new Keys(app);
const sheet = new Sheet(app);
app.get("help").addEventListener("click", () => app.get("keys").showModal());
app.connection = new Connection({
  state: (name) => {
    const lamp = app.get("link-state");
    lamp.dataset.state = name;
    lamp.setAttribute("aria-label", name);
  },
  welcome: (welcome) => {
    app.welcome = welcome;
    describe(app);
    app.emit("welcome");
  },
  sheet: (header, pixels) => {
    sheet.fill(header.starts, pixels);
    begin(app, sheet);
  },
  view: (header, pixels) => app.show(header, pixels),
  planning: (header, pixels) => app.plan.hear(header, pixels),
  trouble: (text) => app.toast(text),
});
window.addEventListener("hashchange", async () => {
  const link = await readLink(location.hash).catch(() => null);
  if (!link) return;
  Object.assign(app.settings, link.settings);
  await app.ask("adjust", app.settings);
  await app.open(link.start, link.path);
  app.emit("settings");
});
