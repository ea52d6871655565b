//go:build !linux

package listen

// maxPath is the longest socket path that macOS and the BSDs take: sun_path in
// unix(4) has 104 bytes, the last of them zero.
const maxPath = 103
