"""The build report as one HTML file: no script, no request, plots as inline SVG, light, dark and print."""
