package dpi

import "strings"

// followers holds for each letter those that come after it in English words
// and in names of well-known domains, at least six in 10 000 pairs of letters.
var followers = letterPairs([26]string{
	"bcdgiklmnprstuvy",     // a
	"aeilorsu",             // b
	"acdehiklmorstu",       // c
	"acdefilmnorsu",        // d
	"abcdefgilmnopqrstvwx", // e
	"aefilorstu",           // f
	"aehilnorsu",           // g
	"aeioru",               // h
	"abcdefglmnoprstvxz",   // i
	"",                     // j
	"aeis",                 // k
	"acdeilostuvy",         // l
	"abeimopsu",            // m
	"acdefgiklmnostuv",     // n
	"abcdfgiklmnoprstuvw",  // o
	"acehilmoprstu",        // p
	"u",                    // q
	"acdefgiklmnorstuvy",   // r
	"acehikloprstuwy",      // s
	"acefhilmoprstuy",      // t
	"abcdefgilmnprst",      // u
	"aeip",                 // v
	"aehiors",              // w
	"eipt",                 // x
	"mnpst",                // y
	"e",                    // z
})

func letterPairs(rows [26]string) (pairs [26]uint32) {
	for i, row := range rows {
		for _, c := range []byte(row) {
			pairs[i] |= 1 << (c - 'a')
		}
	}
	return pairs
}

const (
	// dgaLength is the number of letters and digits below which a label says
	// too little.
	dgaLength = 10
	// dgaShare is the share of usual pairs of letters below which a label looks
	// drawn by lot. Labels of 12 letters drawn by lot fall below it in 84 of
	// 100 cases; of the 145 well-known domains of this length none does.
	dgaShare = 0.6
	// dgaChanges between letters and digits are more than people write.
	dgaChanges = 5
)

// generated tells whether the registered part of a name looks as if an
// algorithm had made it: nDPI's "suspicious DGA domain name".
func generated(name string) bool {
	label := registered(name)
	if len(label) < dgaLength || strings.HasPrefix(label, "xn--") || strings.IndexByte(label, '-') >= 0 {
		return false
	}
	usual, pairs, changes := 0, 0, 0
	last := byte(0)
	for i := range len(label) {
		c := label[i] | 0x20
		isDigit := label[i] >= '0' && label[i] <= '9'
		switch {
		case !isDigit && (c < 'a' || c > 'z'):
			return false
		case isDigit:
			c = '0'
			if last >= 'a' {
				changes++
			}
		case last == '0':
			changes++
		case last >= 'a':
			pairs++
			if followers[last-'a']&(1<<(c-'a')) != 0 {
				usual++
			}
		}
		last = c
	}
	return changes >= dgaChanges || pairs >= dgaLength-1 && float64(usual) < dgaShare*float64(pairs)
}

// registered is the label that somebody registered: the one before the public
// suffix, of which two labels are known by their form (co.uk, com.br).
func registered(name string) string {
	name = strings.TrimSuffix(name, ".")
	rest, top, ok := cutLast(name)
	if !ok || top == "arpa" || top == "local" || top == "lan" || top == "home" || top == "internal" {
		return ""
	}
	left, label, more := cutLast(rest)
	if more && len(top) == 2 {
		switch label {
		case "co", "com", "net", "org", "ac", "gov", "edu", "or", "ne", "go", "gob", "nom":
			_, label, _ = cutLast(left)
		}
	}
	return label
}

// cutLast cuts the last label off. Without a dot, all is the last.
func cutLast(name string) (rest, last string, found bool) {
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return "", name, false
	}
	return name[:i], name[i+1:], true
}
