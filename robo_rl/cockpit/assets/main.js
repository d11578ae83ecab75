// The page: what comes from the server is shown, what the person does is sent.

import { Controls } from "./controls.js";
import { Curves, short } from "./curves.js";
import { Episodes } from "./episodes.js";
import { Link } from "./link.js";
import { View } from "./view.js";

const $ = (id) => document.getElementById(id);
const WHO = { policy: "policy in control", override: "you in control", blend: "you and policy", residual: "you on top of policy" };
const STALE = 1500; // ms without a state, after which the page says so

let about = {}, role = {}, state = null, stateAt = 0, connected = false, trouble = "", ended = "";
const cameras = [];
const view = new View($("view"), true);
const curves = new Curves($("curves"));

const link = new Link({
  open: () => { connected = true; ended = ""; },
  closed: (why) => { connected = false; trouble = why; refresh(); },
  ended: (message) => { ended = message.why; refresh(); },
  about: (message) => { about = message; describe(); },
  role: (message) => { role = message; refresh(); },
  state: (message) => { state = message; stateAt = performance.now(); live(); refresh(); },
  curves: (message) => curves.replace(message.points),
  points: (message) => { for (const [name, rows] of Object.entries(message.points)) curves.add(name, rows); },
  episodes: (message) => episodes.list(message.list),
  replay: (message) => episodes.replay(message, about.scene),
  still: (message) => episodes.still(message),
  picture,
});
const episodes = new Episodes((message) => link.send(message));
const controls = new Controls(push, press, () => view.deflection());
episodes.list([]);

const holding = () => connected && role.you !== undefined && role.you === role.holder;

function push(axes, frame) {
  const stamp = link.now();
  if (stamp !== null && holding()) link.send({ t: "push", stamp, axes, frame });
}

function press(word) {
  if (word === "pause" && state?.paused) word = "resume";
  link.send({ t: "press", word });
}

function picture(index, stamp, blob) {
  createImageBitmap(blob).then((image) => {
    const camera = cameras[index];
    if (camera) {
      const { canvas } = camera;
      if (canvas.width !== image.width || canvas.height !== image.height) Object.assign(canvas, { width: image.width, height: image.height });
      canvas.getContext("2d").drawImage(image, 0, 0);
      camera.times.push(performance.now());
      if (camera.times.length > 40) camera.times.shift();
    }
    image.close();
  }).finally(() => link.send({ t: "seen", camera: index }));
}

function describe() {
  document.title = $("title").textContent = about.title ?? "cockpit";
  $("robot").textContent = about.scene?.robot ?? "";
  $("gripper").hidden = about.gripper === false;
  view.setScene(about.scene ?? null);
  if (state) view.setState(state);
  const turns = about.rotations?.length ?? 3;
  $("pad-turn").hidden = turns === 0;
  const frames = about.frames ?? [], chosen = $("frame");
  if (chosen.options.length !== frames.length) {
    chosen.replaceChildren(...frames.map((name) => new Option(name, name, false, name === about.frame)));
    chosen.parentElement.hidden = !frames.length;
    controls.frame = about.frame ?? null;
  }
  (about.cameras ?? []).forEach((name, i) => {
    if (cameras[i]) return;
    const box = document.createElement("div");
    box.className = "camera";
    box.innerHTML = `<canvas></canvas><span class="tag"></span><span class="tag rate"></span>`;
    box.querySelector("span").textContent = name;
    $("cameras").append(box);
    cameras[i] = { canvas: box.querySelector("canvas"), rate: box.querySelector(".rate"), times: [] };
  });
}

function live() {
  view.setState(state);
  if (state.period) curves.add("loop (ms)", [[performance.now() / 1000, 1000 * state.period]]);
  const rows = curves.points["loop (ms)"];
  while (rows.length && rows[0][0] < performance.now() / 1000 - 60) rows.shift();
}

function refresh() {
  const mine = holding(), others = (role.viewers?.length ?? 1) - 1;
  $("role").classList.toggle("mine", mine);
  $("role-text").textContent = !connected ? trouble || (ended ? "ended" : "connecting …") : mine ? `you hold control${others ? `, ${others} watching` : ""}` : `${role.holder ?? "nobody"} holds control`;
  $("ask").hidden = !connected || mine;
  $("ask").textContent = role.asking && role.asking === role.you ? "Asked …" : "Ask for control";
  $("notice").hidden = !(mine && role.asking);
  $("notice-text").textContent = `${role.asking} asks for control. Without an answer they get it in ten seconds.`;
  for (const button of document.querySelectorAll("[data-press], #pause, #end, #release")) button.disabled = !mine;
  $("banner").hidden = !(ended || state?.paused || state?.stopped);
  $("banner").classList.toggle("stopped", Boolean(ended || state?.stopped));
  $("banner-text").textContent = ended ? `Ended, and the robot holds: ${ended}` : state?.stopped ? "STOPPED. Look at the robot, release the stop, then resume." : "Paused. The robot holds.";
  $("release").hidden = Boolean(ended) || !state?.stopped;
  if (!state) return;
  const silent = performance.now() - stateAt > STALE && !state.paused && !state.waiting;
  const who = !connected || silent ? "none" : state.waiting && !state.paused && state.authority === "policy" && !state.step ? "ready" : state.authority;
  $("authority").dataset.who = who;
  const name = mine ? WHO[who] : WHO[who]?.replace("you", role.holder ?? "a person");
  $("authority-text").textContent = who === "none" ? "no news of the loop" : who === "ready" ? "ready: push to begin" : state.attended === false ? "evaluating the policy" : name;
  $("step").textContent = state.step ?? "–";
  $("return").textContent = short(state.return);
  $("latency").textContent = state.latency ? `${(1000 * state.latency).toFixed(0)} ms` : "–";
  $("link").textContent = link.roundTrip === null ? "…" : `${(1000 * link.roundTrip).toFixed(0)} ms`;
  $("progress").style.width = `${Math.min(100, (100 * (state.step ?? 0)) / (state.horizon || 1))}%`;
  $("progress").style.background = who === "override" ? "var(--person)" : "var(--policy)";
  const tag = $("episode-state");
  tag.textContent = state.over ? (state.label === "discard" ? "discarded" : state.success ? "success" : "over") : "";
  tag.className = `tag ${state.over ? (state.success ? "good" : "bad") : ""}`;
  $("pause").firstChild.textContent = state.paused ? "Resume" : "Pause";
  $("pause").disabled = !mine || state.stopped;
  $("device").textContent = controls.device;
}

for (const button of document.querySelectorAll("[data-press]")) button.onclick = () => { press(button.dataset.press); button.blur(); };
$("pause").onclick = () => { press("pause"); $("pause").blur(); };
$("release").onclick = () => press("release");
$("emergency").onpointerdown = () => press("emergency"); // not on click: nothing shall wait for the finger to leave
$("end").onclick = () => confirm("End the session? What was recorded stays.") && press("stop");
$("ask").onclick = () => link.send({ t: "ask" });
$("yes").onclick = () => link.send({ t: "answer", granted: true });
$("no").onclick = () => link.send({ t: "answer", granted: false });
$("frame").onchange = () => { controls.frame = $("frame").value; $("frame").blur(); };
$("speed").oninput = () => (controls.speed = +$("speed").value);
$("speed").onchange = () => $("speed").blur();
setInterval(() => {
  for (const { rate, times } of cameras) {
    const recent = times.filter((at) => at > performance.now() - 1000).length;
    rate.textContent = recent ? `${recent} /s` : "";
  }
  refresh();
}, 500);
