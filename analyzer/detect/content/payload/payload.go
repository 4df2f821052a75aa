// Package payload finds attacks in what a client writes into a request: SQL,
// script and command injection, path traversal and the lookups of Log4Shell. It
// takes the text of a request line or of a header, as the client sent it, and says
// what is in it and how sure that is. It judges the grammar of the decoded values,
// not words: prose about attacks is none. Nothing is owned or kept; all functions
// may be used from several goroutines.
package payload

import (
	"slices"
	"strings"
)

// Kind is what an attack goes for.
type Kind string

// Kinds of attacks.
const (
	SQL       Kind = "sql injection"
	Script    Kind = "cross-site scripting"
	Traversal Kind = "path traversal"
	Command   Kind = "command injection"
	Lookup    Kind = "jndi lookup"
	Tool      Kind = "attack tool" // the client says that it is one
)

// Sign is one thing that was found.
type Sign struct {
	Kind Kind
	Sure bool   // it has no other meaning; else it takes several of them
	Rule string // name of the rule, for people: "union select"
	Text string // the decoded part that fits it, at most 160 octets
}

const (
	maxText   = 8192 // octets of a text that are looked at
	maxValues = 64   // values of a query string
	maxSign   = 160  // octets of Sign.Text
)

// Request judges a request as flows have it: "METHOD host/path?query".
func Request(text string) []Sign {
	text = text[:min(len(text), maxText)]
	if method, rest, ok := strings.Cut(text, " "); ok && len(method) <= 16 {
		text = rest
	}
	path, query, asked := strings.Cut(text, "?")
	signs := pathSigns(path)
	if asked {
		signs = append(signs, querySigns(query)...)
	}
	return merge(signs)
}

// Header judges the value of a header, such as the User-Agent.
func Header(text string) []Sign {
	text = text[:min(len(text), maxText)]
	signs := lookupSigns(text)
	for _, form := range forms(text, false) {
		signs = append(signs, lookupSigns(form)...)
		signs = append(signs, headerRules.find(form)...)
	}
	return merge(signs)
}

// pathSigns judges the part before the question mark.
func pathSigns(path string) (signs []Sign) {
	for _, form := range forms(path, false) {
		signs = append(signs, lookupSigns(form)...)
		signs = append(signs, traversalSigns(form)...)
		signs = append(signs, pathRules.find(form)...)
		if form != path && strings.ContainsAny(form, `'"`) {
			signs = append(signs, sqlSigns(afterSlash(form))...)
		}
	}
	return signs
}

// afterSlash is the last part of a path, which may be a value: /item/1'+or+1=1.
func afterSlash(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// querySigns judges each value of a query, and the whole where attacks need it.
func querySigns(query string) (signs []Sign) {
	signs = append(signs, queryRules.find(strings.ToLower(unescape(query, true)))...)
	n := 0
	for pair := range strings.SplitSeq(query, "&") {
		if n++; n > maxValues {
			break
		}
		name, value, named := strings.Cut(pair, "=")
		if !named {
			name, value = "", pair
		}
		for _, form := range forms(value, true) {
			signs = append(signs, valueSigns(form)...)
		}
		if named && len(name) > 3 {
			for _, form := range forms(name, true) {
				signs = append(signs, nameRules.find(form)...)
				signs = append(signs, lookupSigns(form)...)
			}
		}
	}
	return signs
}

// valueSigns judges a decoded value.
func valueSigns(value string) []Sign {
	signs := lookupSigns(value)
	signs = append(signs, traversalSigns(value)...)
	if prose(value) {
		return signs
	}
	signs = append(signs, fileRules.find(value)...)
	signs = append(signs, sqlSigns(value)...)
	signs = append(signs, scriptRules.find(value)...)
	return append(signs, commandRules.find(value)...)
}

// merge keeps one sign of each rule, sure ones first.
func merge(signs []Sign) []Sign {
	slices.SortStableFunc(signs, func(a, b Sign) int {
		switch {
		case a.Sure && !b.Sure:
			return -1
		case b.Sure && !a.Sure:
			return 1
		}
		return 0
	})
	var out []Sign
	for _, s := range signs {
		if !slices.ContainsFunc(out, func(o Sign) bool { return o.Rule == s.Rule }) {
			out = append(out, s)
		}
	}
	return out
}

// Sure says whether one of the signs is.
func Sure(signs []Sign) bool { return slices.ContainsFunc(signs, func(s Sign) bool { return s.Sure }) }

// Kinds lists the kinds of signs, sorted, each once.
func Kinds(signs []Sign) []Kind {
	var list []Kind
	for _, s := range signs {
		if !slices.Contains(list, s.Kind) {
			list = append(list, s.Kind)
		}
	}
	slices.Sort(list)
	return list
}
