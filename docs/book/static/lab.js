// What scrolls sideways can be reached by keyboard. Boxes change with the window, so this looks again when it does.
(function () {
  "use strict";
  function mark() {
    document.querySelectorAll("pre, .math.block, .table-wrapper, .text_html").forEach(function (box) {
      if (box.scrollWidth > box.clientWidth) {
        box.tabIndex = 0;
      } else {
        box.removeAttribute("tabindex");
      }
    });
  }
  // Two places in the HTML of the theme and of MyST-NB that screen readers cannot use as they are.
  function name() {
    document.querySelectorAll('[role="heading"]:not([aria-level])').forEach(function (caption) {
      caption.setAttribute("aria-level", "2");
    });
    document.querySelectorAll('[aria-label="Toggle hidden content"]').forEach(function (summary) {
      summary.removeAttribute("aria-label");
    });
  }
  window.addEventListener("load", mark);
  window.addEventListener("load", name);
  window.addEventListener("resize", mark);
  document.addEventListener("toggle", mark, true);
})();
