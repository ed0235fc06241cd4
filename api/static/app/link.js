// The push: frames and statuses as they come, and whether the link stands. It heals by itself.

const SILENCE = 3000; // ms without a status after which the link is down
const LOOK = 500;
const RETRY = [1000, 2000, 4000];

/**
 * Events: `frame` and `status` with their data as `detail`, `reset` when what is shown must be
 * asked for anew, `state` when `state` has changed: "connecting", "up" or "down", and `closed` when
 * the other side has closed the link, or never opened it.
 */
class Link extends EventTarget {
  state = "connecting";
  since = Date.now(); // of the state
  frameAt = 0; // when the last frame came
  #source = null;
  #heard = 0;
  #lastId = null;
  #run = null;
  #tries = 0;
  #next = 0;
  #timer = 0;

  /** Begin to listen, or begin again. */
  start() {
    this.stop();
    this.#become("connecting");
    this.#heard = performance.now();
    this.#open();
    this.#timer = setInterval(() => this.#look(), LOOK);
  }

  /** Listen no more. */
  stop() {
    clearInterval(this.#timer);
    this.#source?.close();
  }

  // A WebSocket, as browsers keep six connections to a server, for all of its pages together, and a
  // page that holds one of them for events would leave too few to a desk with many windows.
  #open() {
    this.#source?.close();
    const address = new URL("/api/v1/ws", location.href);
    address.protocol = address.protocol.replace("http", "ws");
    if (this.#lastId) address.searchParams.set("last_id", this.#lastId);
    const source = (this.#source = new WebSocket(address));
    source.addEventListener("message", ({ data }) => {
      if (source === this.#source) this.#hear(JSON.parse(data));
    });
    this.#next = performance.now() + RETRY[Math.min(this.#tries++, RETRY.length - 1)];
  }

  #hear({ event, id, data }) {
    if (event === "hello") {
      if (this.#run !== null && data.run !== this.#run) this.#tell("reset", data);
      this.#run = data.run;
    } else if (event === "frame") {
      if (id) this.#lastId = id;
      this.frameAt = Date.now();
      this.#tell("frame", data);
    } else if (event === "status") {
      this.#heard = performance.now();
      this.#tries = 0;
      this.#become("up");
      this.#tell("status", data);
    } else if (event === "reset") {
      this.#lastId = null;
      this.#tell("reset", data);
    }
  }

  #look() {
    const now = performance.now();
    const silent = now - this.#heard > SILENCE;
    if (silent) this.#become("down");
    const closed = this.#source.readyState === WebSocket.CLOSED;
    // One that was closed is opened anew; one that hangs is given its time first.
    if (now < this.#next + (closed ? 0 : SILENCE) || !(closed || silent)) return;
    if (closed) this.#tell("closed");
    this.#open();
  }

  #become(state) {
    if (state === this.state) return;
    this.state = state;
    this.since = Date.now();
    this.#tell("state", state);
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

export const link = new Link();
