// The push: frames and statuses as they come, and whether the link stands. It heals by itself.

const SILENCE = 3000; // ms without a status after which the link is down
const LOOK = 500;
const RETRY = [1000, 2000, 4000];

/**
 * Events: `frame` and `status` with their data as `detail`, `reset` when what is shown must be
 * asked for anew, `state` when `state` has changed: "connecting", "up" or "down", `refused` while
 * there is an answer, and it is an error.
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

  #open() {
    this.#source?.close();
    const query = this.#lastId ? `?last_id=${encodeURIComponent(this.#lastId)}` : "";
    const source = (this.#source = new EventSource(`/api/v1/events${query}`));
    const on = (name, told) => {
      source.addEventListener(name, (event) => {
        if (source === this.#source) told(JSON.parse(event.data), event.lastEventId);
      });
    };
    on("hello", (data) => {
      if (this.#run !== null && data.run !== this.#run) this.#tell("reset", data);
      this.#run = data.run;
    });
    on("frame", (data, id) => {
      if (id) this.#lastId = id;
      this.frameAt = Date.now();
      this.#tell("frame", data);
    });
    on("status", (data) => {
      this.#heard = performance.now();
      this.#tries = 0;
      this.#become("up");
      this.#tell("status", data);
    });
    on("reset", (data) => {
      this.#lastId = null;
      this.#tell("reset", data);
    });
    this.#next = performance.now() + RETRY[Math.min(this.#tries++, RETRY.length - 1)] + SILENCE;
  }

  #look() {
    const now = performance.now();
    if (now - this.#heard <= SILENCE) return;
    this.#become("down");
    const closed = this.#source.readyState === EventSource.CLOSED;
    // A browser gives up where a server answers with an error, and may hang where a network does.
    if (closed) this.#tell("refused");
    if (now >= this.#next || (closed && now >= this.#next - SILENCE)) this.#open();
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
