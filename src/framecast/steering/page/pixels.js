// Pixels as they come (RGB rows) onto canvases.

/** Draw RGB pixels onto a canvas of their own size; CSS scales it. */
export function paint(canvas, pixels, width, height) {
  const context = sized(canvas, width, height);
  const image = context.createImageData(width, height);
  const out = image.data;
  for (let i = 0, j = 0; i < pixels.length; i += 3, j += 4) {
    out[j] = pixels[i];
    out[j + 1] = pixels[i + 1];
    out[j + 2] = pixels[i + 2];
    out[j + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

const STOPS = [[8, 6, 15], [61, 17, 97], [166, 47, 97], [240, 127, 44], [251, 233, 160]];
const FULL = 25; // levels of standard deviation that show as the brightest colour

/** Standard deviation over futures, (H, W), in levels of 0 to 255. */
export function spread(frames, count) {
  const out = new Float32Array(count);
  for (let pixel = 0; pixel < count; pixel++) {
    let worst = 0;
    for (let channel = 0; channel < 3; channel++) {
      const at = pixel * 3 + channel;
      let sum = 0;
      let squares = 0;
      for (const frame of frames) {
        sum += frame[at];
        squares += frame[at] * frame[at];
      }
      const mean = sum / frames.length;
      worst = Math.max(worst, squares / frames.length - mean * mean);
    }
    out[pixel] = Math.sqrt(Math.max(0, worst));
  }
  return out;
}

/** Draw a spread as heat. */
export function paintHeat(canvas, values, width, height) {
  const context = sized(canvas, width, height);
  const image = context.createImageData(width, height);
  for (let i = 0; i < values.length; i++) {
    const share = Math.min(1, values[i] / FULL) * (STOPS.length - 1);
    const low = Math.min(STOPS.length - 2, Math.floor(share));
    for (let channel = 0; channel < 3; channel++) {
      const [from, to] = [STOPS[low][channel], STOPS[low + 1][channel]];
      image.data[i * 4 + channel] = from + (to - from) * (share - low);
    }
    image.data[i * 4 + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

/** The 2d context of a canvas that fills its place sharply, and its size in CSS pixels. */
export function fitted(canvas) {
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  const context = sized(canvas, Math.round(width * scale), Math.round(height * scale));
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

/** A colour of the stylesheet. */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function sized(canvas, width, height) {
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  return canvas.getContext("2d");
}
