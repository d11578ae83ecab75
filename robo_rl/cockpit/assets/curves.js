// Small curves, one beside the other.

const SHOWN = ["success", "intervention rate", "reward", "Q", "policy age (s)", "loop (ms)"];
const COLOURS = ["#3fb976", "#ffb454", "#5b9dff", "#b48cff", "#63c7d8", "#e57fb5"];
const MOST = 2000;
const EVALUATED = "success, evaluated"; // drawn over the success of training

export const short = (value) =>
  value === null || value === undefined || !isFinite(value) ? "–" : Math.abs(value) >= 1000 ? value.toFixed(0) : String(+value.toPrecision(3));

// Fits a canvas to its box; returns its painter, width and height in CSS pixels.
export function fitted(canvas) {
  const ratio = Math.min(devicePixelRatio || 1, 2), w = canvas.clientWidth, h = canvas.clientHeight;
  if (canvas.width !== Math.round(w * ratio)) Object.assign(canvas, { width: Math.round(w * ratio), height: Math.round(h * ratio) });
  const paint = canvas.getContext("2d");
  paint.setTransform(ratio, 0, 0, ratio, 0, 0);
  paint.clearRect(0, 0, w, h);
  return [paint, w, h];
}

export class Curves {
  constructor(parent) {
    this.points = Object.fromEntries([...SHOWN, EVALUATED].map((name) => [name, []]));
    this.boxes = SHOWN.map((name, i) => {
      const box = document.createElement("div");
      box.className = "curve";
      box.innerHTML = `<div><span></span><b>–</b></div><canvas></canvas>`;
      box.querySelector("span").textContent = name;
      parent.append(box);
      return { name, colour: COLOURS[i], value: box.querySelector("b"), canvas: box.querySelector("canvas"), box };
    });
    this.dirty = new Set(SHOWN);
    setInterval(() => this.draw(), 250);
  }

  replace(points) {
    for (const name of [...SHOWN, EVALUATED]) if (name !== "loop (ms)") this.points[name] = points[name] ?? [];
    this.dirty = new Set(SHOWN);
  }

  add(name, rows) {
    if (!(name in this.points)) return;
    const kept = this.points[name];
    kept.push(...rows);
    if (kept.length > MOST) kept.splice(0, kept.length - MOST);
    this.dirty.add(name === EVALUATED ? "success" : name);
  }

  draw() {
    for (const { name, colour, value, canvas } of this.boxes) {
      if (!this.dirty.has(name) || !canvas.clientWidth) continue;
      this.dirty.delete(name);
      const rows = this.points[name], [paint, w, h] = fitted(canvas);
      value.textContent = short(rows.at(-1)?.[1]);
      if (name === "success" && this.points[EVALUATED].length) value.textContent += ` · evaluated ${short(this.points[EVALUATED].at(-1)[1])}`;
      if (!rows.length) {
        paint.fillStyle = "#5a6678";
        paint.font = "12px system-ui";
        paint.fillText("nothing yet", 2, h / 2);
        continue;
      }
      const xs = rows.map((row) => row[0]), ys = rows.map((row) => row[1]);
      const left = xs[0], right = Math.max(xs.at(-1), left + 1e-9);
      let low = Math.min(0, ...ys), high = Math.max(...ys);
      if (name.startsWith("success") || name === "intervention rate") [low, high] = [0, 1];
      if (high - low < 1e-9) high = low + 1;
      const X = (x) => 2 + ((x - left) / (right - left)) * (w - 8), Y = (y) => h - 16 - ((y - low) / (high - low)) * (h - 24);
      paint.strokeStyle = "#232d3a";
      paint.lineWidth = 1;
      for (const y of [low, high]) {
        paint.beginPath();
        paint.moveTo(0, Y(y));
        paint.lineTo(w, Y(y));
        paint.stroke();
      }
      paint.beginPath();
      rows.forEach(([x, y], i) => (i ? paint.lineTo(X(x), Y(y)) : paint.moveTo(X(x), Y(y))));
      paint.strokeStyle = colour;
      paint.lineWidth = 1.8;
      paint.lineJoin = "round";
      paint.stroke();
      paint.lineTo(X(xs.at(-1)), Y(low));
      paint.lineTo(X(left), Y(low));
      paint.fillStyle = colour + "1c";
      paint.fill();
      if (name === "success") {
        paint.fillStyle = "#e8edf4";
        for (const [x, y] of this.points[EVALUATED]) paint.fillRect(X(x) - 2, Y(y) - 2, 4, 4);
      }
      paint.beginPath();
      paint.arc(X(xs.at(-1)), Y(ys.at(-1)), 2.6, 0, 7);
      paint.fillStyle = colour;
      paint.fill();
      paint.fillStyle = "#6d7b8f";
      paint.font = "10px system-ui";
      paint.fillText(short(high), 2, Y(high) - 2 < 9 ? 9 : Y(high) - 2);
      paint.textAlign = "right";
      paint.fillText(name === "loop (ms)" ? "last minute" : `${short(right)} steps`, w - 2, h - 3);
      paint.textAlign = "left";
    }
  }
}
