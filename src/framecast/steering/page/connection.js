// The websocket: requests with answers, binary messages unpacked, and a new try when it is lost.

const decoder = new TextDecoder();
const PLANNING = ["standing", "round", "preview"];
const RETRY = [500, 1000, 2000, 4000, 8000];

export class Connection {
  /** @param handlers state, welcome, sheet, view, planning, trouble */
  constructor(handlers) {
    this.handlers = handlers;
    this.waiting = new Map(); // id -> {resolve, reject, file}
    this.lastId = 0;
    this.failures = 0;
    this.token = new URLSearchParams(location.hash.slice(1)).get("token") || "";
    this.connect();
  }

  connect() {
    this.handlers.state("connecting");
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const query = this.token ? `?token=${encodeURIComponent(this.token)}` : "";
    this.socket = new WebSocket(`${scheme}://${location.host}/steer${query}`);
    this.socket.binaryType = "arraybuffer";
    this.socket.onmessage = (event) => this.receive(event.data);
    this.socket.onclose = (event) => this.lost(event);
  }

  get busy() { return this.waiting.size > 0; }

  ask(type, fields) {
    if (this.socket.readyState !== WebSocket.OPEN) return Promise.reject(new Error("Not connected."));
    const id = ++this.lastId;
    this.socket.send(JSON.stringify({ type, id, ...fields }));
    this.handlers.state("busy");
    return new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject, file: null }));
  }

  receive(data) {
    if (typeof data === "string") {
      this.understand(JSON.parse(data), null);
      return;
    }
    const length = new DataView(data).getUint32(0, true);
    const header = JSON.parse(decoder.decode(new Uint8Array(data, 4, length)));
    this.understand(header, new Uint8Array(data, 4 + length));
  }

  understand(header, bytes) {
    const waiting = this.waiting.get(header.id);
    if (header.type === "welcome") {
      this.failures = 0;
      this.handlers.state("live");
      this.handlers.welcome(header);
    } else if (header.type === "sheet") this.handlers.sheet(header, bytes);
    else if (header.type === "view") this.handlers.view(header, bytes);
    else if (PLANNING.includes(header.type)) this.handlers.planning(header, bytes);
    else if (header.type === "file" && waiting) waiting.file = { name: header.name, bytes };
    else if (header.type === "done" && waiting) this.settle(header.id, () => waiting.resolve(waiting.file || true));
    else if (header.type === "error" && waiting) this.settle(header.id, () => waiting.reject(new Error(header.message)));
    else if (header.type === "error") this.handlers.trouble(header.message);
  }

  settle(id, answer) {
    this.waiting.delete(id);
    if (!this.busy) this.handlers.state("live");
    answer();
  }

  lost(event) {
    this.handlers.state("lost");
    for (const { reject } of this.waiting.values()) reject(new Error("The connection was lost."));
    this.waiting.clear();
    if (event.code === 1013) return; // the server is full, and has said so
    const wait = RETRY[Math.min(this.failures++, RETRY.length - 1)];
    if (this.failures === 3) this.handlers.trouble("The server cannot be reached. Still trying.");
    setTimeout(() => this.connect(), wait);
  }
}
