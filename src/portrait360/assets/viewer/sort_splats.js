// Splats are blended from back to front. The worker is made from this function's own text, as a page opened from a
// folder may load no second file; so it uses nothing from outside.
function makeSorter(means, room) { // room: for how many splats the answer has space
  const count = means.length / 3;
  const depths = new Float32Array(count);
  const keys = new Uint16Array(count);
  const starts = new Uint32Array(65537);

  // Counting sort by 16-bit depth along the axis: linear, and finer than the splats are.
  return function sort(x, y, z, moved = null) { // the first ones may have moved
    if (moved) means.set(moved);
    let low = Infinity, high = -Infinity;
    for (let i = 0; i < count; i++) {
      const depth = x * means[3 * i] + y * means[3 * i + 1] + z * means[3 * i + 2];
      depths[i] = depth;
      if (depth < low) low = depth;
      if (depth > high) high = depth;
    }
    const scale = 65535 / Math.max(high - low, 1e-9);
    starts.fill(0);
    for (let i = 0; i < count; i++) {
      keys[i] = (high - depths[i]) * scale;
      starts[keys[i] + 1]++;
    }
    for (let k = 0; k < 65536; k++) starts[k + 1] += starts[k];
    const order = new Uint32Array(room);
    for (let i = 0; i < count; i++) order[starts[keys[i]]++] = i;
    return order;
  };
}

function startWorker(means, room) {
  const source = `${makeSorter}
    let sort;
    onmessage = ({ data }) => {
      if (!sort) { sort = makeSorter(...data); return; }
      const began = performance.now();
      const order = sort(...data);
      postMessage({ order, milliseconds: performance.now() - began }, [order.buffer]);
    };`;
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const worker = new Worker(url);
  URL.revokeObjectURL(url);
  worker.postMessage([means, room]);
  return worker;
}
