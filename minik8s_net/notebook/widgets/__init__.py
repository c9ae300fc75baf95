"""The widgets, one file each. All share one ES module (widget.js), which draws by the trait `view`."""
