"""The pictures of a page, as SVG that the page's style sheet colours."""
