// The list of recorded episodes, and the replay of one.

import { fitted, short } from "./curves.js";
import { View } from "./view.js";

const $ = (id) => document.getElementById(id);
const RIBBON = { policy: "#5b9dff30", override: "#ffb45460", blend: "#b48cff55", residual: "#b48cff55" };
const LINES = ["#ff6b62", "#55d18b", "#5b9dff", "#ffb454", "#b48cff", "#63c7d8", "#e8edf4"];

export class Episodes {
  // send: sends a message to the server.
  constructor(send) {
    this.send = send;
    this.view = new View($("replay-view"), false);
    this.view.distance = 1.35;
    this.shown = null;
    this.playing = false;
    this.period = 100;
    $("replay-close").onclick = () => $("replay").close();
    $("replay").onclose = () => (this.playing = false);
    $("replay-at").oninput = () => {
      this.playing = false;
      this.show();
    };
    $("replay-play").onclick = () => {
      const slider = $("replay-at");
      if (+slider.value >= +slider.max) slider.value = 0;
      this.playing = !this.playing;
      this.run();
    };
  }

  list(episodes) {
    const body = $("episodes");
    body.replaceChildren();
    $("episode-count").textContent = episodes.length ? `${episodes.length} recorded` : "";
    if (!episodes.length) body.innerHTML = `<tr><td colspan="6" class="empty">none recorded yet</td></tr>`;
    for (const each of [...episodes].reverse()) {
      const row = body.insertRow();
      const cell = (text, kind) => {
        const span = document.createElement("span");
        span.textContent = text;
        if (kind) span.className = kind;
        row.insertCell().append(span);
      };
      cell(+each.name.replace("episode_", ""));
      if (each.trouble) {
        cell("damaged", "poor");
        row.title = each.trouble;
        continue;
      }
      const judged = each.label !== "none" ? " ✓" : "";
      cell((each.success ? "success" : "failure") + judged, each.success ? "fine" : "poor");
      cell(each.length);
      cell(short(each.return));
      cell(each.human === null ? "–" : `${Math.round(100 * each.human)} %`);
      const button = document.createElement("button");
      button.textContent = "Replay";
      button.dataset.replay = each.name;
      button.onclick = () => this.send({ t: "replay", name: each.name });
      row.insertCell().append(button);
    }
  }

  replay(told, scene) {
    this.shown = told;
    $("replay-title").textContent = told.trouble ?? told.name.replace("_", " ");
    if (told.trouble) return $("replay").showModal();
    this.view.setScene(told.track ? scene : null);
    $("replay-view").hidden = !told.track && told.cameras.length > 0;
    $("replay-cameras").replaceChildren(...told.cameras.map((name) => {
      const image = new Image();
      image.dataset.camera = name;
      image.alt = name;
      return image;
    }));
    Object.assign($("replay-at"), { max: told.reward.length, value: 0 });
    if (!$("replay").open) $("replay").showModal();
    this.playing = true;
    this.run();
  }

  run() {
    $("replay-play").textContent = this.playing ? "Pause" : "Play";
    this.show();
    if (!this.playing) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      const slider = $("replay-at");
      if (!this.playing) return;
      if (+slider.value >= +slider.max) this.playing = false;
      else slider.value = +slider.value + 1;
      this.run();
    }, this.period);
  }

  show() {
    const { shown } = this, at = +$("replay-at").value;
    if (!shown || shown.trouble) return;
    const { track, reward, authority } = shown;
    $("replay-step").textContent = `step ${at} of ${reward.length}`;
    if (track?.length) this.view.setState(track[Math.min(at, track.length) - 1] ?? track[0]);
    for (const image of $("replay-cameras").children) this.send({ t: "still", name: shown.name, camera: image.dataset.camera, step: at });
    this.chart(at, shown.executed, authority);
  }

  still({ name, camera, jpeg }) {
    const image = [...$("replay-cameras").children].find((each) => each.dataset.camera === camera);
    if (image && this.shown?.name === name) image.src = `data:image/jpeg;base64,${jpeg}`;
  }

  chart(at, actions, authority) {
    const [paint, w, h] = fitted($("replay-actions")), count = actions.length;
    const X = (t) => (t / count) * w, Y = (value) => h / 2 - value * (h / 2 - 5);
    for (let t = 0, from = 0; authority && t < count; t++)
      if (authority[t] !== authority[t + 1]) { // a stretch in one hand, in one piece
        paint.fillStyle = RIBBON[authority[t]];
        paint.fillRect(X(from), 0, X(t + 1) - X(from), h);
        from = t + 1;
      }
    for (let k = 0; k < actions[0].length; k++) {
      paint.beginPath();
      actions.forEach((action, t) => (t ? paint.lineTo(X(t + 0.5), Y(action[k])) : paint.moveTo(X(0.5), Y(action[k]))));
      paint.strokeStyle = LINES[k % LINES.length];
      paint.lineWidth = 1.4;
      paint.stroke();
    }
    paint.fillStyle = "#ffffff";
    paint.fillRect(X(at) - 0.5, 0, 1, h);
  }
}
