package listen

// maxPath is the longest socket path Linux takes: sun_path in unix(7) has 108
// bytes, the last of them zero.
const maxPath = 107
