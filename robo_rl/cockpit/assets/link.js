// The connection to the server: it comes back by itself, keeps the page's name when loaded anew, and tells the server's time.

const PING = 500; // ms between two measurements of the network
const KEPT = 20; // of them, the quickest of which tells the difference of the clocks

function ownName() {
  let name = sessionStorage.getItem("cockpit-name");
  if (!name) {
    const kind = /Mobi|Android|iPhone|iPad/.test(navigator.userAgent) ? "phone" : "browser";
    name = `${kind}-${Math.random().toString(36).slice(2, 6)}`;
    sessionStorage.setItem("cockpit-name", name);
  }
  return name;
}

function ownToken() {
  if (location.hash.length > 1) {
    sessionStorage.setItem("cockpit-token", location.hash.slice(1));
    history.replaceState(null, "", location.pathname); // it is not to be seen, nor shared with the address
  }
  return sessionStorage.getItem("cockpit-token");
}

export class Link {
  // on: functions by the kind of message; `picture` is given (camera, stamp, blob), `open` and `closed` nothing.
  constructor(on) {
    this.on = on;
    this.offset = null; // s from this page's clock to the server's
    this.roundTrip = null; // s
    this.samples = [];
    this.connect();
    setInterval(() => this.send({ t: "ping", at: performance.now() }), PING);
  }

  connect() {
    const token = ownToken();
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.socket = new WebSocket(`${scheme}://${location.host}/ws`);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => {
      this.samples = [];
      this.offset = null;
      this.send({ t: "hello", name: ownName(), token });
      this.send({ t: "ping", at: performance.now() });
      this.on.open();
    };
    this.socket.onmessage = (event) => this.hear(event.data);
    this.socket.onclose = (event) => {
      this.on.closed(event.code === 4001 ? "the token is wrong: open the address that the command printed" : "");
      if (event.code !== 4001) setTimeout(() => this.connect(), 500);
    };
  }

  send(message) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  // The server's time now, s; null before it is known.
  now() {
    return this.offset === null ? null : performance.now() / 1000 + this.offset;
  }

  hear(data) {
    if (typeof data !== "string") {
      const header = new DataView(data, 0, 9);
      const camera = header.getUint8(0);
      this.on.picture(camera, header.getFloat64(1, true), new Blob([data.slice(9)], { type: "image/jpeg" }));
      return;
    }
    const message = JSON.parse(data);
    if (message.t !== "pong") {
      this.on[message.t]?.(message);
      return;
    }
    const back = performance.now();
    this.samples.push([back - message.at, message.server - (message.at + back) / 2000]);
    if (this.samples.length > KEPT) this.samples.shift();
    const best = this.samples.reduce((a, b) => (b[0] < a[0] ? b : a));
    this.offset = best[1];
    this.roundTrip = (back - message.at) / 1000;
  }
}
