// Every visible piece of text against what is painted behind it: those under the ratio that WCAG AA asks.
const rgba = (text) => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
};
const clear = (text) => text === "transparent" || /rgba\(0, 0, 0, 0\)/.test(text);
const behind = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = getComputedStyle(at).backgroundColor;
    if (!clear(colour)) return rgba(colour);
  }
  return [255, 255, 255, 255];
};
const luminance = (colour) => {
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const [r, g, b] = colour.slice(0, 3).map((v) => linear(v / 255));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ratio = (a, b) => {
  const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (light + 0.05) / (dark + 0.05);
};
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const low = new Map();
while (walker.nextNode()) {
  const parent = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
  const painted = parent.checkVisibility({ opacityProperty: true }) && !parent.closest("noscript, .skip, svg");
  if (!text || !painted) continue;
  const style = getComputedStyle(parent), size = parseFloat(style.fontSize);
  const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
  const found = ratio(rgba(style.color), behind(parent));
  if (found < (large ? 3 : 4.5)) low.set(text.slice(0, 30), found.toFixed(2));
}
return [...low];
