package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"unicode/utf8"
)

// EncodeLine writes v as JSON on one line. Whatever text v holds, a terminal
// that shows the line is not at its mercy.
func EncodeLine(w io.Writer, v any) error { return encode(w, v, "") }

// encode writes v as JSON, indented unless indent is empty. The package
// encoding/json escapes the control characters below U+0020 itself, and what
// [isControl] knows beyond those is escaped here.
func encode(w io.Writer, v any, indent string) error {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(escapeControls(text.Bytes()))
	return err
}

// escapeControls returns text, which is JSON, with every character that
// isControl knows written as an escape. JSON has them in strings only.
func escapeControls(text []byte) []byte {
	if !hasControls(text) {
		return text
	}
	safe := make([]byte, 0, len(text)+64)
	for rest := text; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		if isControl(r) {
			safe = fmt.Appendf(safe, `\u%04x`, r)
		} else {
			safe = append(safe, rest[:size]...)
		}
		rest = rest[size:]
	}
	return safe
}

func hasControls(text []byte) bool { return bytes.ContainsFunc(text, isControl) }

// isControl reports whether r is a character beyond ASCII's own control
// characters that steers a terminal or reorders what is shown: DEL, the C1
// controls, line and paragraph separators, and the embeddings, overrides and
// isolates of bidirectional text.
func isControl(r rune) bool {
	return r >= 0x7f && r <= 0x9f || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

// writeJSON answers with v. A client that is gone needs no answer.
func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = encode(w, v, "  ")
}
