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
  window.addEventListener("load", mark);
  window.addEventListener("resize", mark);
  document.addEventListener("toggle", mark, true);
})();
