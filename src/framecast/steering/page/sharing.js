// A moment as a link, and the way to it as a file.
//
// A link holds the start, every command and every seed in the part of the address after #, which
// browsers do not send to servers.

export class Sharing {
  constructor(app) {
    this.app = app;
    app.get("share").addEventListener("click", () => this.share());
    app.get("save-gif").addEventListener("click", () => this.save("gif"));
    app.get("save-npz").addEventListener("click", () => this.save("npz"));
  }

  async share() {
    const { app } = this;
    if (!app.current) return;
    if (app.current.depth > app.welcome.max_path) {
      app.toast(`A link holds ${app.welcome.max_path} steps at most: go back some, or save an npz.`);
      return;
    }
    const link = await this.link();
    const text = app.get("link-text");
    text.value = link;
    app.get("link").showModal();
    text.select();
    const copied = await copy(link);
    app.get("link-note").textContent = copied ? "Copied." : "Copy it from here.";
  }

  async link() {
    const { app } = this;
    const state = {
      start: app.current.start,
      settings: app.settings,
      path: app.pathTo(app.current.moment),
    };
    const { token } = app.connection;
    const parts = new URLSearchParams(token ? { token } : {});
    parts.set("s", await packed(JSON.stringify(state)));
    return `${location.origin}${location.pathname}#${parts}`;
  }

  async save(format) {
    const file = await this.app.ask("save", { format });
    if (!file || !file.bytes) return;
    const url = URL.createObjectURL(new Blob([file.bytes]));
    const anchor = document.createElement("a");
    anchor.href = url;
    anchor.download = file.name;
    anchor.click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  }
}

/** The state that a link holds, or null where the address holds none. Throws for a broken one. */
export async function readLink(hash) {
  const text = new URLSearchParams(hash.slice(1)).get("s");
  if (!text) return null;
  const state = JSON.parse(await unpacked(text));
  const { futures, seed, latent } = state.settings;
  if (!Array.isArray(state.path)) throw new Error("no path");
  return { start: state.start, path: state.path, settings: { futures, seed, latent } };
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // only secure pages may
  }
}

async function packed(text) {
  const bytes = await through(new Blob([text]), new CompressionStream("deflate-raw"));
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

async function unpacked(text) {
  const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  const bytes = Uint8Array.from(binary, (letter) => letter.charCodeAt(0));
  const plain = await through(new Blob([bytes]), new DecompressionStream("deflate-raw"));
  return new TextDecoder().decode(plain);
}

async function through(blob, stream) {
  return new Uint8Array(await new Response(blob.stream().pipeThrough(stream)).arrayBuffer());
}
