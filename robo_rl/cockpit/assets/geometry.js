// Poses [rotation (9, row by row), position (3)] and the faces of primitives.

export const IDENTITY = [[1, 0, 0, 0, 1, 0, 0, 0, 1], [0, 0, 0]];
const SIDES = 20; // of what is round

export const turn = (R, v) => [
  R[0] * v[0] + R[1] * v[1] + R[2] * v[2],
  R[3] * v[0] + R[4] * v[1] + R[5] * v[2],
  R[6] * v[0] + R[7] * v[1] + R[8] * v[2],
];
export const add = (a, b) => [a[0] + b[0], a[1] + b[1], a[2] + b[2]];
export const sub = (a, b) => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
export const scale = (a, s) => [a[0] * s, a[1] * s, a[2] * s];
export const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
export const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
export const unit = (a) => scale(a, 1 / Math.hypot(...a));
export const apply = ([R, p], v) => add(turn(R, v), p);

export function compose([R, p], [S, q]) {
  const rows = [];
  for (let i = 0; i < 9; i += 3)
    for (let j = 0; j < 3; j++) rows.push(R[i] * S[j] + R[i + 1] * S[j + 3] + R[i + 2] * S[j + 6]);
  return [rows, add(turn(R, q), p)];
}

export function fromQuat([w, x, y, z], pos) {
  return [[
    1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
    2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
    2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
  ], pos];
}

export function aboutAxis(axis, angle) {
  const s = Math.sin(angle / 2);
  return fromQuat([Math.cos(angle / 2), axis[0] * s, axis[1] * s, axis[2] * s], [0, 0, 0]);
}

const lathe = (profile) => { // faces of a body that is round about z, from its rings [radius, height], bottom first
  const ring = ([r, z]) => Array.from({ length: SIDES }, (_, i) => {
    const a = (2 * Math.PI * i) / SIDES;
    return [r * Math.cos(a), r * Math.sin(a), z];
  });
  const rings = profile.map(ring), faces = [];
  for (let k = 0; k + 1 < rings.length; k++)
    for (let i = 0; i < SIDES; i++) {
      const j = (i + 1) % SIDES;
      faces.push([rings[k][i], rings[k][j], rings[k + 1][j], rings[k + 1][i]]);
    }
  return faces;
};

const arc = (radius, from, to, offset) => // rings of a sphere between two latitudes, rad
  Array.from({ length: 6 }, (_, i) => {
    const a = from + ((to - from) * i) / 5;
    return [radius * Math.cos(a), radius * Math.sin(a) + offset];
  });

// Faces of a shape, in the frame of what it belongs to, each with its corners anticlockwise seen from outside.
export function facesOf(shape) {
  const { kind, size } = shape;
  let faces;
  if (kind === "box") {
    const [x, y, z] = size;
    const corner = (i) => [i & 1 ? x : -x, i & 2 ? y : -y, i & 4 ? z : -z];
    faces = [[0, 2, 3, 1], [4, 5, 7, 6], [0, 1, 5, 4], [2, 6, 7, 3], [0, 4, 6, 2], [1, 3, 7, 5]].map((f) => f.map(corner));
  } else if (kind === "cylinder") {
    const [r, h] = size;
    faces = lathe([[0, -h], [r, -h], [r, h], [0, h]]);
  } else if (kind === "capsule") {
    const [r, h] = size;
    faces = lathe([...arc(r, -Math.PI / 2, 0, -h), ...arc(r, 0, Math.PI / 2, h)]);
  } else {
    const r = size[0];
    faces = lathe([...arc(r, -Math.PI / 2, 0, 0), ...arc(r, 0, Math.PI / 2, 0).slice(1)]);
  }
  const pose = fromQuat(shape.quat, shape.pos);
  return faces.map((face) => face.map((v) => apply(pose, v)));
}
