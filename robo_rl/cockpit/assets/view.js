// The arm in three dimensions, on a plain canvas: faces sorted by depth need no graphics driver and run on any phone.

import { IDENTITY, aboutAxis, add, apply, compose, cross, dot, facesOf, fromQuat, scale, sub, turn, unit } from "./geometry.js";

const LIGHT = unit([0.35, -0.45, 0.85]);
const GRAB = 26; // px around the target's handle
const hex = (r, g, b, a = 1) => `rgba(${r | 0},${g | 0},${b | 0},${a})`;

export class View {
  // editable: whether the target can be dragged.
  constructor(canvas, editable) {
    this.canvas = canvas;
    this.paint = canvas.getContext("2d");
    this.scene = null;
    this.state = null;
    this.azimuth = -0.95;
    this.elevation = 0.42;
    this.distance = 1.55;
    this.goal = null; // where the handle is dragged to
    this.editable = editable;
    this.pointers = new Map();
    this.dirty = true;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) canvas.addEventListener(kind, (event) => this.up(event));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(event.deltaY * 0.001));
    }, { passive: false });
    new ResizeObserver(() => (this.dirty = true)).observe(canvas);
    const frame = () => {
      if (this.dirty && canvas.clientWidth) this.draw();
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  setScene(scene) {
    this.scene = scene && {
      ...scene,
      parts: [scene.base, ...scene.links.map((link) => link.shapes), scene.hand.shapes, scene.hand.finger_shapes, scene.hand.finger_shapes]
        .map((shapes) => shapes.map((shape) => [facesOf(shape), shape.rgba])),
      things: Object.fromEntries(Object.entries(scene.objects).map(([name, item]) =>
        [name, { ...item, faces: item.shapes.map((shape) => [facesOf(shape), shape.rgba]) }])),
    };
    if (scene) this.center = [scene.center[0] * 0.62, scene.center[1], 0.3];
    this.dirty = true;
  }

  setState(state) {
    this.state = state;
    this.dirty = true;
  }

  // What leads the target to where it is dragged, in the base frame, each in [-1, 1]; null while nothing is dragged.
  deflection() {
    if (!this.goal || !this.state?.target_pos) return null;
    const lead = scale(sub(this.goal, this.state.target_pos), 1 / this.scene.translation);
    const most = Math.max(1, ...lead.map(Math.abs));
    return lead.map((value) => (Math.abs(value) < 0.06 ? 0 : value / most));
  }

  // Poses of base, links, hand and both fingers.
  poses() {
    const { links, hand } = this.scene, joints = this.state?.joint_pos ?? this.scene.home;
    const poses = [IDENTITY];
    let pose = IDENTITY;
    links.forEach((link, i) => {
      pose = compose(compose(pose, fromQuat(link.quat, link.pos)), aboutAxis(link.axis, joints[i] ?? 0));
      poses.push(pose);
    });
    const palm = compose(pose, fromQuat(hand.quat, hand.pos));
    const open = (this.state?.gripper_width?.[0] ?? 0) / 2;
    const finger = [IDENTITY[0], add(hand.finger_pos, [0, open, 0])];
    const half = aboutAxis([0, 0, 1], Math.PI);
    return [...poses, palm, compose(palm, finger), compose(compose(palm, half), finger)];
  }

  camera() {
    const ce = Math.cos(this.elevation), se = Math.sin(this.elevation);
    const back = [ce * Math.cos(this.azimuth), ce * Math.sin(this.azimuth), se];
    const right = unit(cross([0, 0, 1], back));
    const { clientWidth: w, clientHeight: h } = this.canvas;
    return { eye: add(this.center, scale(back, this.distance)), back, right, up: cross(back, right), w, h, f: Math.min(h, w * 1.1) * 1.15 };
  }

  project(cam, v) {
    const d = sub(v, cam.eye), depth = -dot(d, cam.back);
    const s = cam.f / Math.max(depth, 0.05);
    return [cam.w / 2 + s * dot(d, cam.right), cam.h / 2 - s * dot(d, cam.up), depth];
  }

  draw() {
    this.dirty = false;
    const ratio = Math.min(devicePixelRatio || 1, 2), { canvas, paint } = this;
    const w = Math.round(canvas.clientWidth * ratio), h = Math.round(canvas.clientHeight * ratio);
    if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
    paint.setTransform(ratio, 0, 0, ratio, 0, 0);
    paint.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    if (!this.scene) {
      paint.fillStyle = "#8d9aac";
      paint.textAlign = "center";
      paint.font = "15px system-ui";
      paint.fillText("no arm to draw", canvas.clientWidth / 2, canvas.clientHeight / 2);
      return;
    }
    const cam = this.camera();
    this.floor(cam);
    const bodies = this.poses().flatMap((pose, i) => this.scene.parts[i].map(([faces, rgba]) => [faces, rgba, pose]));
    for (const [name, item] of Object.entries(this.scene.things)) {
      const told = this.state?.objects?.[name];
      const pose = told ? [told[1], told[0]] : item.mount === "tool" && this.state?.tcp_pos ? [this.state.tcp_rot ?? IDENTITY[0], this.state.tcp_pos] : null;
      if (pose) item.faces.forEach(([faces, rgba]) => bodies.push([faces, rgba, pose]));
    }
    this.shadow(cam, bodies);
    const seen = [];
    for (const [faces, rgba, pose] of bodies)
      for (const face of faces) {
        const corners = face.map((v) => apply(pose, v));
        const normal = cross(sub(corners[2], corners[0]), sub(corners[3], corners[1]));
        const size = Math.hypot(...normal);
        if (size < 1e-12 || dot(normal, sub(cam.eye, corners[0])) <= 0) continue;
        const points = corners.map((v) => this.project(cam, v));
        const shine = 0.42 + 0.58 * Math.max(0, dot(normal, LIGHT) / size);
        seen.push([points.reduce((sum, p) => sum + p[2], 0) / points.length, points, rgba, shine]);
      }
    seen.sort((a, b) => b[0] - a[0]);
    paint.lineWidth = 0.8;
    paint.lineJoin = "round";
    for (const [, points, [r, g, b, a], shine] of seen) {
      paint.fillStyle = paint.strokeStyle = hex(235 * r * shine, 238 * g * shine, 245 * b * shine, a);
      this.polygon(points);
      paint.fill();
      if (a === 1) paint.stroke(); // closes the seams between faces
    }
    this.target(cam);
  }

  polygon(points) {
    this.paint.beginPath();
    points.forEach(([x, y], i) => (i ? this.paint.lineTo(x, y) : this.paint.moveTo(x, y)));
    this.paint.closePath();
  }

  line(cam, a, b) {
    const [p, q] = [this.project(cam, a), this.project(cam, b)];
    if (p[2] < 0.06 || q[2] < 0.06) return;
    this.paint.beginPath();
    this.paint.moveTo(p[0], p[1]);
    this.paint.lineTo(q[0], q[1]);
    this.paint.stroke();
  }

  floor(cam) {
    const { paint } = this, step = 0.1, reach = 0.9;
    paint.lineWidth = 1;
    for (let i = -9; i <= 9; i++) {
      paint.strokeStyle = i === 0 ? "#ffffff30" : "#ffffff12";
      this.line(cam, [i * step, -reach, 0], [i * step, reach, 0]);
      this.line(cam, [-reach, i * step, 0], [reach, i * step, 0]);
    }
    const [low, high] = this.scene.workspace; // the box that the tool may be led to
    paint.strokeStyle = "#5b9dff48";
    paint.setLineDash([4, 5]);
    for (let i = 0; i < 8; i++)
      for (const bit of [1, 2, 4])
        if (!(i & bit)) {
          const at = (k) => [k & 1 ? high[0] : low[0], k & 2 ? high[1] : low[1], k & 4 ? high[2] : low[2]];
          this.line(cam, at(i), at(i | bit));
        }
    paint.setLineDash([]);
  }

  shadow(cam, bodies) { // one path, so that shadows on shadows are no darker
    const { paint } = this;
    paint.fillStyle = "#00000058";
    paint.beginPath();
    for (const [faces, rgba, pose] of bodies) {
      if (rgba[3] < 1) continue;
      for (const face of faces) {
        const flat = face.map((v) => {
          const p = apply(pose, v), down = Math.max(0, p[2]) / LIGHT[2];
          return this.project(cam, [p[0] - LIGHT[0] * down, p[1] - LIGHT[1] * down, 0]);
        });
        let area = 0;
        flat.forEach(([x, y], i) => { const [u, v] = flat[(i + 1) % flat.length]; area += x * v - u * y; });
        if (area < 0) flat.reverse(); // alike, or two would cut each other out
        flat.forEach(([x, y], i) => (i ? paint.lineTo(x, y) : paint.moveTo(x, y)));
        paint.closePath();
      }
    }
    paint.fill("nonzero");
  }

  target(cam) {
    const pos = this.state?.target_pos;
    if (!pos) return;
    const { paint } = this, rot = this.state.target_rot ?? IDENTITY[0];
    paint.lineWidth = 2.5;
    ["#ff6b62", "#55d18b", "#5b9dff"].forEach((colour, i) => {
      paint.strokeStyle = colour;
      this.line(cam, pos, add(pos, turn(rot, [0, 1, 2].map((k) => (k === i ? 0.07 : 0)))));
    });
    if (this.goal) {
      paint.strokeStyle = "#ffb454";
      paint.setLineDash([5, 4]);
      this.line(cam, pos, this.goal);
      paint.setLineDash([]);
    }
    if (!this.editable) return;
    const [x, y] = this.project(cam, this.goal ?? pos);
    paint.beginPath();
    paint.arc(x, y, this.goal ? 11 : 8, 0, 7);
    paint.fillStyle = "#ffb454";
    paint.fill();
    paint.lineWidth = 2;
    paint.strokeStyle = "#fff";
    paint.stroke();
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  down(event) {
    if (!this.scene) return;
    this.canvas.setPointerCapture(event.pointerId);
    const [x, y] = this.at(event);
    this.pointers.set(event.pointerId, [x, y]);
    const target = this.state?.target_pos;
    if (this.editable && target && this.pointers.size === 1) {
      const [u, v] = this.project(this.camera(), target);
      if (Math.hypot(u - x, v - y) < GRAB) this.goal = [...target];
    }
    this.dirty = true;
  }

  move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const [x, y] = this.at(event);
    if (this.pointers.size === 2) {
      const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1];
      const was = Math.hypot(before[0] - other[0], before[1] - other[1]);
      this.zoom(was / Math.max(10, Math.hypot(x - other[0], y - other[1])));
    } else if (this.goal) {
      this.goal = this.under(x, y, event.shiftKey);
    } else {
      this.azimuth -= (x - before[0]) * 0.007;
      this.elevation = Math.max(-0.1, Math.min(1.5, this.elevation + (y - before[1]) * 0.007));
    }
    this.pointers.set(event.pointerId, [x, y]);
    this.dirty = true;
  }

  // The point under the pointer: at the goal's distance, or, with shift, at its height.
  under(x, y, level) {
    const cam = this.camera(), [low, high] = this.scene.workspace;
    const ray = add(scale(cam.back, -cam.f), add(scale(cam.right, x - cam.w / 2), scale(cam.up, cam.h / 2 - y)));
    const normal = level ? [0, 0, 1] : cam.back, along = dot(ray, normal);
    if (Math.abs(along) < 1e-6) return this.goal;
    const t = dot(sub(this.goal, cam.eye), normal) / along;
    return t <= 0 ? this.goal : add(cam.eye, scale(ray, t)).map((v, i) => Math.max(low[i], Math.min(high[i], v)));
  }

  up(event) {
    this.pointers.delete(event.pointerId);
    this.goal = null;
    this.dirty = true;
  }

  zoom(by) {
    this.distance = Math.max(0.4, Math.min(4, this.distance * by));
    this.dirty = true;
  }
}
