// Compares a fused image with its sources: a divider that pointer and keys move, with zoom and pan in step.
(() => {
  const LARGEST = 16;

  // The browser of an iPhone shows nothing but videos on the full screen.
  if (!document.fullscreenEnabled) {
    const style = document.createElement('style');
    style.textContent = '.viewer [data-do="full"] { display: none !important; }';
    document.head.append(style);
  }

  const parts = (inside) => {
    const viewer = inside.closest && inside.closest('.viewer');
    return viewer && { viewer, stage: viewer.querySelector('.stage'), slider: viewer.querySelector('input[type="range"]') };
  };
  const number = (stage, name) => parseFloat(stage.style.getPropertyValue(name)) || 0;

  // How far the images are moved, in pixels; kept in per cent of the stage, whose size can change.
  const moved = (stage) => {
    const { width, height } = stage.getBoundingClientRect();
    return [(number(stage, '--x') * width) / 100, (number(stage, '--y') * height) / 100];
  };

  function divide({ stage, slider }, percent) {
    slider.value = Math.round(Math.min(100, Math.max(0, percent)));
    stage.style.setProperty('--at', `${slider.value}%`);
  }

  function place({ viewer, stage }, zoom, x, y) {
    const { width, height } = stage.getBoundingClientRect();
    stage.style.setProperty('--zoom', zoom);
    const percent = (shift, side) => `${Math.min(0, Math.max(100 * (1 - zoom), (100 * shift) / side))}%`;
    stage.style.setProperty('--x', percent(x, width));
    stage.style.setProperty('--y', percent(y, height));
    stage.classList.toggle('zoomed', zoom > 1);
    stage.classList.toggle('near', zoom >= 4);
    viewer.querySelector('output').textContent = `${Math.round(100 * zoom)} %`;
  }

  function zoomAt(it, factor, clientX, clientY) {
    const box = it.stage.getBoundingClientRect();
    const before = number(it.stage, '--zoom') || 1;
    const zoom = Math.min(LARGEST, Math.max(1, before * factor));
    const [u, v] = [clientX - box.left, clientY - box.top];
    const [x, y] = moved(it.stage);
    const keep = (at, old) => at - ((at - old) * zoom) / before;
    place(it, zoom, keep(u, x), keep(v, y));
  }

  function zoomMiddle(it, factor) {
    const box = it.stage.getBoundingClientRect();
    zoomAt(it, factor, box.left + box.width / 2, box.top + box.height / 2);
  }

  document.addEventListener('input', (event) => {
    const it = event.target.matches('.viewer input[type="range"]') && parts(event.target);
    if (it) divide(it, Number(event.target.value));
  });

  document.addEventListener('change', (event) => {
    const it = event.target.matches('.viewer input[type="radio"]') && parts(event.target);
    if (!it) return;
    const images = it.viewer.querySelectorAll('.source-layer img');
    images.forEach((image, index) => image.classList.toggle('shown', String(index) === event.target.value));
    it.viewer.querySelector('.tag.source').textContent = event.target.dataset.label;
  });

  document.addEventListener('click', (event) => {
    const button = event.target.closest && event.target.closest('.viewer [data-do]');
    const it = button && parts(button);
    if (!it) return;
    const actions = {
      swap: () => it.stage.classList.toggle('swapped'),
      closer: () => zoomMiddle(it, 2),
      further: () => zoomMiddle(it, 0.5),
      full: () => (document.fullscreenElement ? document.exitFullscreen() : it.viewer.requestFullscreen()),
    };
    actions[button.dataset.do]();
  });

  document.addEventListener('keydown', (event) => {
    const it = event.target.matches && event.target.matches('.viewer input[type="range"]') && parts(event.target);
    const factor = { '+': 2, '=': 2, '-': 0.5 }[event.key];
    if (!it || !factor) return;
    event.preventDefault();
    zoomMiddle(it, factor);
  });

  document.addEventListener('wheel', (event) => {
    const it = event.ctrlKey && event.target.closest && event.target.closest('.stage') && parts(event.target);
    if (!it) return;
    event.preventDefault();
    zoomAt(it, Math.exp(-event.deltaY / 200), event.clientX, event.clientY);
  }, { passive: false });

  document.addEventListener('dblclick', (event) => {
    const it = event.target.closest && event.target.closest('.stage') && parts(event.target);
    if (it) zoomAt(it, number(it.stage, '--zoom') > 1 ? 0 : 3, event.clientX, event.clientY);
  });

  // One finger or the mouse moves the divider, or pans the image if it is enlarged; two fingers zoom.
  const fingers = new Map();
  let drag = null;
  document.addEventListener('pointerdown', (event) => {
    const it = event.button === 0 && event.target.closest && event.target.closest('.stage') && parts(event.target);
    if (!it) return;
    fingers.set(event.pointerId, event);
    const box = it.stage.getBoundingClientRect();
    const divider = box.left + (box.width * Number(it.slider.value)) / 100;
    const zoomed = number(it.stage, '--zoom') > 1;
    drag = { it, moves: zoomed && Math.abs(event.clientX - divider) > 24 };
    if (!drag.moves) divide(it, (100 * (event.clientX - box.left)) / box.width);
    it.slider.focus({ preventScroll: true, focusVisible: false });
    event.preventDefault();
  });
  document.addEventListener('pointermove', (event) => {
    const last = fingers.get(event.pointerId);
    if (!last || !drag) return;
    const { it } = drag;
    const box = it.stage.getBoundingClientRect();
    if (fingers.size === 2) {
      const other = [...fingers.values()].find((finger) => finger.pointerId !== event.pointerId);
      const apart = (finger) => Math.hypot(finger.clientX - other.clientX, finger.clientY - other.clientY) || 1;
      zoomAt(it, apart(event) / apart(last), (event.clientX + other.clientX) / 2, (event.clientY + other.clientY) / 2);
    } else if (drag.moves) {
      const [x, y] = moved(it.stage);
      place(it, number(it.stage, '--zoom'), x + event.clientX - last.clientX, y + event.clientY - last.clientY);
    } else {
      divide(it, (100 * (event.clientX - box.left)) / box.width);
    }
    fingers.set(event.pointerId, event);
  });
  const lift = (event) => { fingers.delete(event.pointerId); if (!fingers.size) drag = null; };
  document.addEventListener('pointerup', lift);
  document.addEventListener('pointercancel', lift);
})();
