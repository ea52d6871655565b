package config

import (
	"cmp"
	"encoding"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Secret is text that no log, error, dump or listing shows. The zero Secret is
// empty. Only Reveal gives the text.
type Secret struct{ text string }

const redacted = "[redacted]"

// NewSecret hides text.
func NewSecret(text string) Secret { return Secret{text} }

// Reveal returns the text itself, for the one place that must send it.
func (s Secret) Reveal() string { return s.text }

// IsZero reports whether s is empty.
func (s Secret) IsZero() bool { return s.text == "" }

// String returns "[redacted]", or "" if s is empty.
func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return redacted
}

// Format keeps the text out of every verb of package fmt.
func (s Secret) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, s.String()) }

// LogValue keeps the text out of slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText keeps the text out of JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes the text, white space around it trimmed.
func (s *Secret) UnmarshalText(text []byte) error {
	key := strings.TrimSpace(string(text))
	if strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("it holds more than one word of printable ASCII")
	}
	s.text = key
	return nil
}

// ByteSize is a number of bytes, written as such or with a unit of 1024.
type ByteSize int64

var byteUnits = [...]string{"TiB", "GiB", "MiB", "KiB", "B"}

// String renders b with the largest unit that leaves no fraction.
func (b ByteSize) String() string {
	size := ByteSize(1) << 40
	for _, unit := range byteUnits {
		if b != 0 && b%size == 0 {
			return strconv.FormatInt(int64(b/size), 10) + unit
		}
		size >>= 10
	}
	return strconv.FormatInt(int64(b), 10)
}

// MarshalText is String.
func (b ByteSize) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText reads "10GiB", "512MiB" or a plain number of bytes.
func (b *ByteSize) UnmarshalText(text []byte) error {
	number, size := string(text), int64(1)
	for i, unit := range byteUnits {
		if rest, ok := strings.CutSuffix(number, unit); ok {
			number, size = strings.TrimSpace(rest), int64(1)<<(10*(len(byteUnits)-1-i))
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/size {
		return errors.New("not a size")
	}
	*b = ByteSize(n * size)
	return nil
}

// Mode is a file's permissions.
type Mode fs.FileMode

// String renders m as four octal digits.
func (m Mode) String() string { return fmt.Sprintf("%04o", uint32(m)) }

// MarshalText is String.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads octal digits, 0 to 0777.
func (m *Mode) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 8, 9)
	*m = Mode(n)
	return err
}

// Names is a list of names without white space, in the file a list or, as in the
// environment, one text with commas between them.
type Names string

// List returns the names.
func (n Names) List() []string {
	if n == "" {
		return nil
	}
	return strings.Split(string(n), ",")
}

// String renders n as the environment has it.
func (n Names) String() string { return string(n) }

// UnmarshalText reads names with commas between them.
func (n *Names) UnmarshalText(text []byte) error {
	var names []string
	for name := range strings.SplitSeq(string(text), ",") {
		name = strings.TrimSpace(name)
		if strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return errors.New("a name holds white space or is not ASCII")
		}
		if name != "" {
			names = append(names, name)
		}
	}
	*n = Names(strings.Join(names, ","))
	return nil
}

// kindOf says in words how a value of v's type is written.
func kindOf(v reflect.Value) string {
	switch v.Interface().(type) {
	case time.Duration:
		return "a duration like 500ms, 10s or 5m"
	case ByteSize:
		return "a size like 512MiB, 10GiB or a number of bytes"
	case Mode:
		return "an octal mode like 0660"
	case Names:
		return "a list like [a.example, b.example], or a.example,b.example"
	case Secret:
		return "one word of printable ASCII"
	case float64:
		return "a number"
	case int:
		return "a whole number"
	default:
		return "text"
	}
}

var errNotAllowed = errors.New("not allowed")

// set gives f the value that text describes. After an error f is as it was.
func (f field) set(text string) error {
	if len(f.words) > 0 && text != f.Default && !slices.Contains(f.words, text) {
		return errNotAllowed
	}
	parsed, err := f.parse(text)
	if err != nil {
		return err
	}
	if f.beyond(parsed, f.lowest, -1) || f.beyond(parsed, f.highest, +1) {
		return errNotAllowed
	}
	f.value.Set(parsed)
	return nil
}

// beyond reports whether v compares to the bound as sign. No bound, no limit.
func (f field) beyond(v reflect.Value, bound string, sign int) bool {
	if bound == "" {
		return false
	}
	limit, err := f.parse(bound)
	switch {
	case err != nil:
		return true // a bound that cannot be read allows nothing; the tests would tell
	case v.CanFloat():
		return cmp.Compare(v.Float(), limit.Float()) == sign // NaN is below every bound
	default:
		return cmp.Compare(v.Int(), limit.Int()) == sign
	}
}

// parse reads text as a value of the type of f.
func (f field) parse(text string) (v reflect.Value, err error) {
	v = reflect.New(f.value.Type()).Elem()
	switch p := v.Addr().Interface().(type) {
	case encoding.TextUnmarshaler:
		err = p.UnmarshalText([]byte(text))
	case *string:
		*p = text
	case *int:
		*p, err = strconv.Atoi(text)
	case *float64:
		*p, err = strconv.ParseFloat(text, 64)
	case *time.Duration:
		*p, err = time.ParseDuration(text)
	default:
		err = fmt.Errorf("no text stands for a %s", v.Type())
	}
	return v, err
}

// format renders v as the file would have it.
func format(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case time.Duration:
		return shortDuration(x)
	case slog.Level:
		return strings.ToLower(x.String())
	default:
		return fmt.Sprint(x)
	}
}

// shortDuration renders d without the parts that are zero: 5m, not 5m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
