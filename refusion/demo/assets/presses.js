// A button that starts a job takes no other press until the job is done. Gradio refuses one only once its request is sent.
(() => {
  const TWICE = 500; // Milliseconds in which a second press belongs to a double click.
  const last = new WeakMap();
  document.addEventListener('click', (event) => {
    const button = event.target.closest && event.target.closest('.actions .primary');
    if (!button) return;
    const running = button.closest('.work').querySelector('.block.status-box > .wrap:not(.hide)');
    if (running || event.timeStamp - last.get(button) < TWICE) {
      event.preventDefault();
      event.stopImmediatePropagation();
    } else {
      last.set(button, event.timeStamp);
    }
  }, true);
})();
