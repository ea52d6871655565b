package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh" help:"bash or zsh."`
}

// Run prints a script that completes commands and flags; packages install it.
func (c completionCmd) Run(w *world, k *kong.Context) error {
	head, tail := "", "complete -o default -F _trackd trackd\n"
	if c.Shell == "zsh" { // it can run completions made for bash
		head, tail = "#compdef trackd\nautoload -U +X bashcompinit && bashcompinit\n", tail+"_bash_complete -o default -F _trackd\n"
	}
	_, err := io.WriteString(w.stdout, head+completion(k.Model.Node)+tail)
	return err
}

// completion is a function for bash that walks the commands typed so far and
// offers what may follow the last of them.
func completion(root *kong.Node) string {
	var steps, offers strings.Builder
	var walk func(path string, n *kong.Node)
	walk = func(path string, n *kong.Node) {
		var words []string
		for _, child := range n.Children {
			if child.Hidden {
				continue
			}
			words = append(words, child.Name)
			fmt.Fprintf(&steps, "\t\t%q) at=\"$at $word\" ;;\n", path+" "+child.Name)
			walk(path+" "+child.Name, child)
		}
		for _, group := range n.AllFlags(true) {
			for _, flag := range group {
				words = append(words, "--"+flag.Name)
			}
		}
		fmt.Fprintf(&offers, "\t%q) offer=%q ;;\n", path, strings.Join(slices.Compact(words), " "))
	}
	walk("trackd", root)
	return "_trackd() {\n" +
		"\tlocal word at=trackd offer= typed=\"${COMP_WORDS[COMP_CWORD]}\"\n" +
		"\tfor word in \"${COMP_WORDS[@]:1:$((COMP_CWORD-1))}\"; do\n\t\tcase \"$at $word\" in\n" + steps.String() + "\t\tesac\n\tdone\n" +
		"\tcase \"$at\" in\n" + offers.String() + "\tesac\n" +
		"\tCOMPREPLY=($(compgen -W \"$offer\" -- \"$typed\"))\n}\n"
}
