package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"trackd/admin"
)

type deadImportCmd struct {
	File string `arg:"" placeholder:"FILE" help:"The file; - is standard input."`
	JSON bool   `name:"json" help:"Print the result as JSON."`
}

// importLine bounds a line of an import: an event of the size the door takes,
// in an export where every byte of it is escaped.
const importLine = 1 << 20

// imported is the result of an import.
type imported struct {
	Taken    int `json:"taken"`
	Bad      int `json:"bad"`
	NotTaken int `json:"not_taken"`
}

// Run has every line of the file taken as a new event. Letters that the lines
// were exported from stay until they are discarded.
func (c deadImportCmd) Run(w *world) error {
	in := w.stdin
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return &fault{code: exitUsage, err: err}
		}
		defer f.Close()
		in = f
	}
	client, err := w.daemon()
	if err != nil {
		return err
	}
	defer client.Close()
	i := importing{world: w, client: client, lines: bufio.NewReaderSize(in, 64<<10)}
	err = i.run()
	w.tell("")
	if err := c.print(w, i.imported); err != nil {
		return err
	}
	if err == nil && i.Bad > 0 {
		err = &fault{code: exitFailure, err: fmt.Errorf("%s not taken, named above", count(i.Bad, "bad line")),
			hint: "mend these lines and import them alone; what was taken must not be imported again"}
	}
	return err
}

func (c deadImportCmd) print(w *world, got imported) error {
	if c.JSON {
		return admin.EncodeLine(w.stdout, got)
	}
	_, err := fmt.Fprintf(w.stdout, "%d taken, %d bad\n", got.Taken, got.Bad)
	return err
}

// importing is an import in progress.
type importing struct {
	*world
	imported
	client *admin.Client
	lines  *bufio.Reader

	line    int      // number of the line read last
	events  [][]byte // to be taken with the next call
	numbers []int    // of their lines
}

// run takes the file call by call, until its end, an interruption, or a daemon
// that takes no more.
func (i *importing) run() error {
	for {
		more, err := i.gather()
		if err != nil {
			return fmt.Errorf("line %d: %w", i.line+1, err)
		}
		if err := i.send(); err != nil {
			return err
		}
		i.tell("%d taken, %d bad", i.Taken, i.Bad)
		if !more {
			return nil
		}
		if i.ctx.Err() != nil {
			return &fault{code: exitFailure, err: fmt.Errorf("interrupted after line %d", i.line),
				hint: fmt.Sprintf("to go on: tail -n +%d FILE | trackd dead import -", i.line+1)}
		}
	}
}

// gather reads the lines of one call.
func (i *importing) gather() (more bool, err error) {
	i.events, i.numbers = i.events[:0], i.numbers[:0]
	for size := 0; len(i.events) < admin.MaxImport && size < importLine*4; {
		line, err := i.readLine()
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		i.line++
		if len(line) > importLine {
			i.bad(i.line, fmt.Sprintf("oversize: the line has more than %d bytes", importLine))
			continue
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			i.events = append(i.events, admin.Unwrap(line))
			i.numbers = append(i.numbers, i.line)
			size += len(line)
		}
	}
	return true, nil
}

// readLine reads the next line, of one that is too long only the beginning.
func (i *importing) readLine() (line []byte, err error) {
	for {
		part, err := i.lines.ReadSlice('\n')
		if len(line) <= importLine {
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(line) > 0:
			return line, nil
		}
		return line, err
	}
}

// send has what was gathered taken. What is begun is finished, to be able to
// say what was done.
func (i *importing) send() error {
	if len(i.events) == 0 {
		return nil
	}
	got, err := i.client.Import(context.WithoutCancel(i.ctx), i.events)
	if err != nil {
		return fmt.Errorf("import, lines %d to %d may or may not be taken: %w", i.numbers[0], i.line, err)
	}
	i.Taken += got.Taken
	for _, b := range got.Bad {
		i.bad(i.numbers[b.Index], b.Message)
	}
	if got.NotTaken == 0 {
		return nil
	}
	i.NotTaken += got.NotTaken
	return &fault{code: exitFailure, err: fmt.Errorf("%d of the lines %d to %d were not taken: %s", got.NotTaken, i.numbers[0], i.line, got.Why),
		hint: fmt.Sprintf("once trackd takes events: tail -n +%d FILE | trackd dead import - (lines taken already are sent twice, with the same messageId if they have one)", i.numbers[0])}
}

func (i *importing) bad(line int, why string) {
	i.Bad++
	i.tell("")
	fmt.Fprintf(i.stderr, "line %d: %s\n", line, printable(why))
}
