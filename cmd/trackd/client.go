package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"trackd/admin"
	"trackd/queue"
)

// daemon returns a client of the running daemon.
func (w *world) daemon() (*admin.Client, error) {
	cfg, err := w.config(true)
	if err != nil {
		return nil, err
	}
	if cfg.Admin.Socket == "" {
		return nil, &fault{code: exitUsage, err: errors.New("admin.socket is turned off, so the daemon takes no orders"),
			hint: "set admin.socket (TRACKD_ADMIN_SOCKET) and restart the daemon"}
	}
	return admin.NewClient(cfg.Admin.Socket), nil
}

// explain turns the error of a command that did not reach the daemon into one
// that says what to do about it.
func (w *world) explain(err error) error {
	if !errors.Is(err, admin.ErrUnreachable) {
		return err
	}
	cfg, configErr := w.config(true)
	if configErr != nil {
		return err
	}
	return &fault{code: exitUnreachable, err: err, hint: socketHint(err, cfg.Admin.Socket)}
}

// socketHint says what to do when a socket could not be reached.
func socketHint(err error, path string) string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return whoMay(path)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the socket is there but nobody listens: the daemon has died; trackd serve, or systemctl start trackd, starts it"
	default:
		return "is it running? trackd serve starts it; --config or TRACKD_ADMIN_SOCKET says where it listens"
	}
}

// whoMay says who gets through to a socket: the first thing on the way that
// keeps this user out decides.
func whoMay(path string) string {
	for _, at := range onTheWay(path) {
		info, err := os.Stat(at)
		if err != nil {
			break // what hides it was named before
		}
		owner, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			break
		}
		if syscall.Access(at, needed(info.Mode())) != nil {
			return keptOut(at, info.Mode(), owner.Uid, owner.Gid)
		}
	}
	return "run this as the user the daemon runs as"
}

// needed is the permission one must have: to write to a socket, to walk through
// a directory.
func needed(mode fs.FileMode) uint32 {
	if mode.IsDir() {
		return 1
	}
	return 2
}

// keptOut says who is let in at a place that keeps this user out.
func keptOut(at string, mode fs.FileMode, uid, gid uint32) string {
	name, group := userName(uid), groupName(gid)
	if uint32(mode.Perm())>>3&needed(mode) != 0 {
		return fmt.Sprintf("%s lets in user %s and group %s: join that group (usermod -aG %s YOU, then log in again) or use sudo -u %s",
			at, name, group, group, name)
	}
	return fmt.Sprintf("%s lets in user %s alone (mode %04o): run this as that user, sudo -u %s", at, name, mode.Perm(), name)
}

// onTheWay lists a path and its directories, the outermost first.
func onTheWay(path string) []string {
	if above := filepath.Dir(path); above != path {
		return append(onTheWay(above), path)
	}
	return []string{path}
}

func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

func groupName(gid uint32) string {
	id := strconv.FormatUint(uint64(gid), 10)
	if g, err := user.LookupGroupId(id); err == nil {
		return g.Name
	}
	return id
}

// eventFilter is the part of the shared filter that concerns events.
type eventFilter struct {
	Event string        `placeholder:"NAME" help:"Only events of this name."`
	ID    string        `name:"id" placeholder:"ID" help:"Only the event with this messageId."`
	User  string        `placeholder:"ID" help:"Only events of this userId or anonymousId."`
	Older time.Duration `placeholder:"AGE" help:"Only events taken at least this long ago, for example 24h."`
	Limit int           `placeholder:"N" help:"At most N of them."`
	All   bool          `help:"All there are."`
}

// filter is what the flags select.
func (f eventFilter) filter() (queue.Filter, error) {
	if f.Limit < 0 || f.Older < 0 {
		return queue.Filter{}, &fault{code: exitUsage, err: errors.New("--limit and --older must not be negative")}
	}
	if f.All && f.narrow() {
		return queue.Filter{}, &fault{code: exitUsage, err: errors.New("--all and other filters contradict each other")}
	}
	filter := queue.Filter{Event: f.Event, ID: f.ID, User: f.User, Limit: f.Limit}
	if f.Older > 0 {
		filter.TakenBefore = time.Now().Add(-f.Older)
	}
	return filter, nil
}

// narrow reports whether some flag leaves something out.
func (f eventFilter) narrow() bool {
	return f.Event != "" || f.ID != "" || f.User != "" || f.Older != 0 || f.Limit != 0
}

// letterFilter is the whole shared filter.
type letterFilter struct {
	Addresses []string `arg:"" optional:"" name:"address" help:"Only the letters at these addresses, as trackd dead list shows them."`
	Reason    []string `placeholder:"REASON" help:"Only letters that died of this, as trackd dead list shows it."`
	Status    []int    `placeholder:"CODE" help:"Only letters whose last answer had this HTTP status."`
	eventFilter
}

func (f letterFilter) narrow() bool {
	return len(f.Addresses) > 0 || len(f.Reason) > 0 || len(f.Status) > 0 || f.eventFilter.narrow()
}

func (f letterFilter) filter() (queue.Filter, error) {
	filter, err := f.eventFilter.filter()
	if err != nil {
		return filter, err
	}
	if f.All && f.narrow() {
		return filter, &fault{code: exitUsage, err: errors.New("--all and other filters contradict each other")}
	}
	filter.Statuses = f.Status
	for _, text := range f.Addresses {
		at, err := queue.ParseAddress(text)
		if err != nil {
			return filter, &fault{code: exitUsage, err: err, hint: "to select by messageId, use --id"}
		}
		filter.At = append(filter.At, at)
	}
	for _, name := range f.Reason {
		reason, err := reasonNamed(name)
		if err != nil {
			return filter, err
		}
		filter.Reasons = append(filter.Reasons, reason)
	}
	return filter, nil
}

func reasonNamed(name string) (queue.Reason, error) {
	var known []string
	for _, r := range queue.Reasons() {
		if string(r) == name {
			return r, nil
		}
		known = append(known, string(r))
	}
	return "", &fault{code: exitUsage, err: fmt.Errorf("there is no reason %q", name), hint: "the reasons are " + strings.Join(known, ", ")}
}

// bulk is filter for a verb that changes things: selecting everything must be
// said.
func (f letterFilter) bulk() (queue.Filter, error) {
	if !f.All && !f.narrow() {
		return queue.Filter{}, &fault{code: exitUsage, err: errors.New("no letter is selected"),
			hint: "narrow it with --reason, --status, --event, --id, --user, --older, --limit or addresses, or say --all"}
	}
	return f.filter()
}

// nothing says that a selection is empty, which is a finding only if somebody
// narrowed it.
func (w *world) nothing(what string, narrow bool) error {
	if narrow {
		return &fault{code: exitFailure, err: fmt.Errorf("no %s matches", what)}
	}
	fmt.Fprintf(w.stderr, "no %ss\n", what)
	return nil
}

// find returns what lies at the address that which is, or else whatever has it
// as its messageId, which may look like an address.
func find[T any](ctx context.Context, which string, at func(context.Context, queue.Address) (*T, error),
	list func(context.Context, queue.Filter) iter.Seq2[T, error]) (found []T, err error) {
	if address, err := queue.ParseAddress(which); err == nil {
		item, err := at(ctx, address)
		if err != nil {
			return nil, err
		}
		if item != nil {
			return []T{*item}, nil
		}
	}
	for item, err := range list(ctx, queue.Filter{ID: which}) {
		if err != nil {
			return nil, err
		}
		found = append(found, item)
	}
	return found, nil
}
