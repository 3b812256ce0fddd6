// Splats that hang on the mesh: each moves with a place in a triangle, and turns and stretches as the triangle does
// (as in GaussianAvatars, Qian et al. 2024). Groups are stored in the expression that shows them; all but the first
// are hidden in the photo's.

const OPENS = [0.01, 0.06]; // changes of weights over which what they open appears
const FOLDED = [1e-3 / METRES, 2e-3 / METRES]; // how far a closed lid has moved where its own skin replaces the photo's
const RIM = [0.85, 0.95]; // shares of the most, from which it is the lashes' line, which stays
const CLOSING = [0.15, 0.6]; // shares of the way
const MOST_GROWN = 3; // of a splat's size

class BoundSplats {
  constructor(mesh, { groups }, bytes, splats) {
    Object.assign(this, { mesh, splats, groups: [], last: mesh.rest });
    this.count = groups.reduce((sum, { count }) => sum + count, 0);
    this.triangles = new Uint16Array(bytes, 0, this.count);
    this.places = new Uint8Array(bytes, 2 * this.count, 2 * this.count);
    this.follows = new Uint8Array(bytes, 4 * this.count, this.count);
    this.shares = new Uint8Array(bytes, 5 * this.count, splats.count); // how far all of them follow the head
    this.means = splats.means.slice(0, 3 * this.count);
    this.covariances = splats.covariances.slice(0, 6 * this.count);
    this.colours = splats.colours.slice(0, 4 * this.count);
    let first = 0;
    for (const group of groups) {
      this.addGroup(first, first + group.count, group);
      first += group.count;
    }
    this.inside = [groups[0].count, this.count];
    this.follow((name) => mesh.photo[name]);
  }

  // Triangles of a group with the inverse of their frame in its own expression.
  addGroup(first, end, { weights, units, over }) {
    const { mesh, triangles } = this;
    const rest = weights ? mesh.pose((name) => weights[name] ?? mesh.photo[name]) : mesh.rest;
    const used = [...new Set(triangles.subarray(first, end))].sort((a, b) => a - b), slots = new Uint32Array(end - first);
    const slotOf = new Map(used.map((triangle, slot) => [triangle, slot]));
    for (let n = first; n < end; n++) slots[n - first] = slotOf.get(triangles[n]);
    const names = Object.keys(mesh.photo).filter((name) => units?.some((unit) => name.startsWith(unit)));
    const group = { first, end, rest, slots, used, names, shown: weights ? -1 : 1, inverses: new Float32Array(9 * used.length) };
    group.frames = new Float32Array(9 * used.length);
    group.changed = new Uint8Array(used.length);
    group.kept = new Float32Array(used.length).fill(1);
    used.forEach((triangle, slot) => invertFrame(frameOf(mesh.triangles, rest, triangle), group.inverses, 9 * slot));
    this.groups.push(group);
    if (over) this.fold(this.groups[0], group);
  }

  // What the photo shows of a lid is little, and lashes that hide it: it fades over the lid's own skin as that closes.
  fold(photo, { rest }) {
    const { mesh } = this, ways = photo.used.map((triangle) => this.way(triangle, rest));
    const skin = photo.used.map((triangle) => mesh.triangles[3 * triangle] < mesh.skin);
    const most = ways.reduce((one, way, slot) => (skin[slot] ? Math.max(one, way) : one), 1e-9);
    photo.folds = ways.map((way, slot) => (skin[slot] ? share(way, FOLDED) * (1 - share(way / most, RIM)) : 0));
    photo.ways = ways;
  }

  // How far a triangle has moved from the photo's expression.
  way(triangle, points) {
    const { mesh: { rest, triangles } } = this, v = 3 * triangles[3 * triangle];
    return Math.hypot(points[v] - rest[v], points[v + 1] - rest[v + 1], points[v + 2] - rest[v + 2]);
  }

  // Move all as a face does; returns the first splat that changed and the one after the last.
  follow(weigh, gaze) {
    const { mesh, last } = this, points = mesh.pose(weigh, gaze), moved = new Uint8Array(points.length / 3);
    let low = this.count, high = 0;
    for (let i = 0; i < points.length; i++) if (points[i] !== last[i]) moved[(i / 3) | 0] = 1;
    this.last = points;
    for (const group of this.groups) {
      const range = this.moveGroup(group, points, moved, weigh);
      low = Math.min(low, range[0]);
      high = Math.max(high, range[1]);
    }
    return low < high ? [low, high] : null;
  }

  // Whether something inside is shown.
  get open() {
    return this.groups.slice(1).some(({ shown }) => shown > 0);
  }

  moveGroup(group, points, moved, weigh) {
    const { mesh, splats } = this, { names, used, slots, frames, inverses, changed, folds, ways } = group;
    const open = names.reduce((most, name) => Math.max(most, Math.abs(weigh(name, false) - mesh.photo[name])), 0);
    const shown = names.length ? share(open, OPENS) : 1, fades = shown !== group.shown;
    for (let slot = 0; slot < used.length; slot++) {
      const at = 3 * used[slot], { triangles } = mesh;
      changed[slot] = group.shown < 0 || moved[triangles[at]] || moved[triangles[at + 1]] || moved[triangles[at + 2]] ? 1 : 0;
      if (!changed[slot]) continue;
      multiply(frameOf(triangles, points, used[slot]), inverses, 9 * slot, frames);
      if (folds?.[slot]) group.kept[slot] = 1 - folds[slot] * share(this.way(used[slot], points) / ways[slot], CLOSING);
    }
    group.shown = shown;
    let low = this.count, high = 0;
    for (let n = group.first; n < group.end; n++) {
      const slot = slots[n - group.first];
      if (!changed[slot] && !fades) continue;
      low = Math.min(low, n);
      high = n + 1;
      splats.colours[4 * n + 3] = shown * group.kept[slot] * this.colours[4 * n + 3];
      if (changed[slot]) this.moveSplat(n, group, points, 9 * slot);
    }
    return [low, high];
  }

  moveSplat(n, { rest, frames }, points, at) {
    const { mesh, places, splats } = this, follows = this.follows[n] / 255, corner = 3 * this.triangles[n];
    const second = places[2 * n] / 255, third = places[2 * n + 1] / 255, weights = [1 - second - third, second, third];
    for (let i = 0; i < 3; i++) {
      let move = 0;
      for (let k = 0; k < 3; k++) {
        const v = 3 * mesh.triangles[corner + k] + i;
        move += weights[k] * (points[v] - rest[v]);
      }
      splats.means[3 * n + i] = this.means[3 * n + i] + follows * move;
    }
    turnCovariance(this.covariances, 6 * n, frames, at, follows, splats.covariances);
  }
}

function share(value, [low, high]) {
  return Math.max(0, Math.min(1, (value - low) / (high - low)));
}

// Two edges and the normal of a triangle, as columns.
function frameOf(triangles, points, triangle) {
  const f = FRAME, a = 3 * triangles[3 * triangle], b = 3 * triangles[3 * triangle + 1], c = 3 * triangles[3 * triangle + 2];
  for (let i = 0; i < 3; i++) {
    f[i] = points[b + i] - points[a + i];
    f[3 + i] = points[c + i] - points[a + i];
  }
  f[6] = f[1] * f[5] - f[2] * f[4];
  f[7] = f[2] * f[3] - f[0] * f[5];
  f[8] = f[0] * f[4] - f[1] * f[3];
  f[9] = Math.hypot(f[6], f[7], f[8]);
  for (let i = 6; i < 9; i++) f[i] /= Math.max(f[9], 1e-20);
  return f;
}
const FRAME = new Float64Array(10); // and the area of the parallelogram

// Rows of the inverse; zeros for a triangle that is none.
function invertFrame([a, b, c, d, e, f, x, y, z, area], out, at) {
  if (area < 1e-12) return;
  out.set([e * z - f * y, f * x - d * z, d * y - e * x, y * c - z * b, z * a - x * c, x * b - y * a], at);
  for (let i = 0; i < 6; i++) out[at + i] /= area;
  out.set([x, y, z], at + 6);
}

function multiply(frame, inverses, at, out) {
  const known = inverses[at + 6] || inverses[at + 7] || inverses[at + 8];
  for (let i = 0; i < 3; i++) {
    for (let j = 0; j < 3; j++) {
      const sum = frame[i] * inverses[at + j] + frame[3 + i] * inverses[at + 3 + j] + frame[6 + i] * inverses[at + 6 + j];
      out[at + 3 * i + j] = known ? sum : Number(i === j);
    }
  }
}

// F C F^T, where F is the frame's change as far as the splat follows it; it grows no larger than MOST_GROWN times.
function turnCovariance(from, start, frames, at, share, out) {
  const f = frames, keep = 1 - share;
  const a = keep + share * f[at], b = share * f[at + 1], c = share * f[at + 2];
  const d = share * f[at + 3], e = keep + share * f[at + 4], g = share * f[at + 5];
  const h = share * f[at + 6], k = share * f[at + 7], l = keep + share * f[at + 8];
  const xx = from[start], xy = from[start + 1], xz = from[start + 2];
  const yy = from[start + 3], yz = from[start + 4], zz = from[start + 5];
  const ax = a * xx + b * xy + c * xz, ay = a * xy + b * yy + c * yz, az = a * xz + b * yz + c * zz;
  const dx = d * xx + e * xy + g * xz, dy = d * xy + e * yy + g * yz, dz = d * xz + e * yz + g * zz;
  const hx = h * xx + k * xy + l * xz, hy = h * xy + k * yy + l * yz, hz = h * xz + k * yz + l * zz;
  const nxx = ax * a + ay * b + az * c, nyy = dx * d + dy * e + dz * g, nzz = hx * h + hy * k + hz * l;
  const grown = (nxx + nyy + nzz) / (MOST_GROWN * MOST_GROWN * (xx + yy + zz)), held = grown > 1 ? 1 / grown : 1;
  out[start] = held * nxx;
  out[start + 1] = held * (ax * d + ay * e + az * g);
  out[start + 2] = held * (ax * h + ay * k + az * l);
  out[start + 3] = held * nyy;
  out[start + 4] = held * (dx * h + dy * k + dz * l);
  out[start + 5] = held * nzz;
}
