package payload

import (
	"regexp"
	"strings"
)

var (
	// comment of SQL within a text, which stands for a space.
	sqlComment = re(`/\*.*?\*/|\*/`)
	// versioned is one that MySQL runs.
	versioned = re(`/\*!\d*`)
	blanks    = re(`[\s\x{a0}]+`)
)

// out is how a value leaves the literal that it is put into: a quote, a closing
// bracket, or a number that needs none.
const out = `(^|[^\w])(-?\d+(\.\d+)?|null|true|false|[\w@. -]{0,40}['"` + "`" + `]+|[\w@. -]{0,40}['"` + "`" + `]?\s*\)+)\s*`

const (
	connective = `(or|and|xor|\|\||&&)\s*(not\s+)?[(\s]*`
	comparison = `(=|<=>|like|<|>|!=|<>|between|in)`
)

var sqlRules = rules{
	{SQL, true, "union select", []string{"union"}, re(`(^-?\d*|['"\d)]\s*|` + out + `[^a-z]*(and|or)?[^;]{0,80})\bunion\s*(all|distinct|distinctrow)?\s*\(?\s*select\s*[\s(+'"@-]*(null|\d+|@@|char\s*\(|chr\s*\(|concat|group_concat|version|user|database|table_name|load_file|unhex|hex\s*\(|0x|from|\w+\s*(,|from\b))`)},
	{SQL, true, "tautology", []string{"or", "and", "|", "&"}, re(`(^|[^\w])[\w@. -]{0,40}['"` + "`" + `]+[)\s]*` + connective + `(['"]?[a-z0-9_.]{1,24}['"]?)[)\s]*` + comparison + `[\s(]*(\d|['"]|[a-z]{1,24}['"]|[a-z]+\s*(#|--))`)},
	{SQL, true, "tautology of numbers", []string{"or", "and", "|", "&"}, re(`(^-?\d+(\.\d+)?[)\s]|^null\s|\))[)\s]*` + connective + `(['"]\w{0,12}['"]|\d+)[)\s]*` + comparison + `[\s(]*(\d|['"])`)},
	{SQL, true, "empty comparison", []string{"'='", `"="`, "''=''", "' = '"}, re(`['"]\s*(or|and|\|\|)\s*['"]+\s*=\s*['"]|^['"]\s*=\s*['"]`)},
	{SQL, true, "waiting", []string{"sleep", "waitfor", "benchmark", "receive_message", "randomblob"}, re(`\b(pg_sleep\s*\(\s*\d|waitfor\s+delay\s+['"]|benchmark\s*\(\s*\d{3,}|dbms_pipe\.receive_message|dbms_lock\.sleep|randomblob\s*\(\s*\d{6,}|(select|and|or|xor|if|\|\||case)\b.*\bsleep\s*\(\s*\d|['"]\s*[-+|]*\s*\(?\s*sleep\s*\(\s*\d)`)},
	{SQL, true, "error by xml", []string{"extractvalue", "updatexml"}, re(`\b(extractvalue|updatexml)\s*\(\s*(\d+|[a-z]+|0x|concat|null|rand)`)},
	{SQL, true, "tables of the system", []string{"information_schema", "sysobjects", "sqlite_master", "pg_catalog", "mysql.user", "all_tables", "syscolumns", "sys.databases"}, re(`\b(select|from|and|or|union|exists)\b.*\b(information_schema\s*\.|sysobjects\b|syscolumns\b|sqlite_master\b|pg_catalog\s*\.|mysql\s*\.\s*user\b|all_tables\b|sys\.databases\b)`)},
	{SQL, true, "second statement", []string{";"}, re(out + `\s*;\s*(drop\s+(table|database)|insert\s+into|update\s+\w+\s+set|delete\s+from|alter\s+table|create\s+(table|user)|exec(ute)?\s+(master|xp_|sp_|immediate)|declare\s+@|truncate\s+table|shutdown\b|select\s+(pg_sleep|sleep|load_file|@@|\*\s+from))`)},
	{SQL, true, "procedure", []string{"xp_", "load_file", "into outfile", "into dumpfile", "utl_http", "sp_oacreate", "sp_executesql"}, re(`\b(xp_(cmdshell|dirtree|regread|fileexist)|sp_oacreate|utl_http\.request|utl_inaddr)\b|\bload_file\s*\(\s*(['"]|0x|char)|\binto\s+(out|dump)file\s+['"]`)},
	{SQL, true, "subquery", []string{"select"}, re(out + `.{0,40}\(\s*select\s+.{1,200}\bfrom\b`)},
	{SQL, true, "select after the literal", []string{"select"}, re(`['")]\s*(and|or|;|,|\|\||\+|-)\s*\(?\s*select\s+.{1,200}(\bfrom\b|@@|\bcase\s+when\b)`)},
	{SQL, true, "conditional", []string{"case when", "if("}, re(out + `.{0,40}\b(select\s*\(?\s*)?(case\s+when\s*\(?.{1,100}\bthen\b.{1,100}\bend\b|if\s*\(\s*\(?(\d+\s*=\s*\d+|ascii|ord|substr|mid|length|now)\b)`)},
	{SQL, true, "letter by letter", []string{"substr", "ascii", "mid("}, re(`\b(and|or|xor)\b.{0,40}\b(ascii|ord|substring|substr|mid)\s*\(.{0,120}\b(select|user|database|version|substr|password)\b`)},
	{SQL, false, "number of columns", []string{"order by", "group by"}, re(out + `(order|group)\s+by\s+\d+\s*(--|#|,|$)`)},
	{SQL, false, "union select", []string{"union"}, re(`^\W*union\s+(all\s+)?select\s+(\d|@@|null\b|\()`)},
	{SQL, false, "comment after the literal", []string{"'", `"`, ")"}, re(`^[\w@. -]{0,40}['")]+\s*(--(\s|-|\+|$)|#\s*$|/\*)`)},
	{SQL, false, "lone quote", []string{"'", `"`}, re(`^-?\d+['"]+\)?$`)},
	{SQL, false, "sleeping", []string{"sleep("}, re(`\bsleep\s*\(\s*\d+\s*\)`)},
	{SQL, false, "arithmetic of a literal", []string{"||", "chr(", "char("}, re(`['"]\s*\|\|\s*['"(]|\b(chr|char)\s*\(\s*\d+\s*\)\s*(\|\||\+|,)`)},
}

// sqlSigns judges a value in lower case.
func sqlSigns(value string) []Sign {
	if !strings.ContainsAny(value, `'"();=-#/*<>|`+"`") && !strings.Contains(value, "union") && !strings.Contains(value, "sleep") {
		return nil
	}
	plain := blanks.ReplaceAllString(sqlComment.ReplaceAllString(versioned.ReplaceAllString(value, " "), " "), " ")
	return sqlRules.find(strings.TrimSpace(plain))
}

// word is one of a natural language, or of none: SQL is made of words as well.
var word = regexp.MustCompile(`[a-z\x{e0}-\x{24f}]{2,}`)

// prose says whether a value is what people write, an attack within it or not:
// two words or more before the first thing that no sentence has, or one and
// mostly words behind it. "how to use ' or 1=1 in php" is, "1' or 1=1" is not.
func prose(value string) bool {
	at := strings.IndexAny(value, `'"<>();{}=$|`+"`")
	if at < 0 {
		at = len(value)
	}
	before := 0
	words := strings.Fields(value[:at])
	if at < len(value) && at > 0 && value[at-1] != ' ' && len(words) > 0 { // one that a quote ends is no word by itself
		words = words[:len(words)-1]
	}
	for _, w := range words {
		if word.FindString(w) == strings.Trim(w, ".,:!?") && !sqlWords[w] {
			before++
		}
	}
	if before >= 2 {
		return true
	}
	// Words behind it as well: "' or 1=1 explained for people who begin".
	all, others := 0, 0
	for _, w := range strings.Fields(value) {
		w = strings.Trim(w, ".,:!?-")
		all++
		if w != "" && word.FindString(w) == w && !sqlWords[w] {
			others++
		}
	}
	return before >= 1 && others >= 4 && others*2 > all
}

// sqlWords are words of SQL, and of other attacks, that are English, too.
var sqlWords = map[string]bool{"select": true, "from": true, "where": true, "union": true, "all": true, "and": true, "or": true, "not": true, "null": true, "like": true,
	"order": true, "by": true, "group": true, "having": true, "limit": true, "insert": true, "into": true, "update": true, "set": true, "delete": true, "drop": true,
	"table": true, "database": true, "exec": true, "declare": true, "case": true, "when": true, "then": true, "else": true, "end": true, "exists": true,
	"between": true, "user": true, "users": true, "password": true, "username": true, "version": true, "waitfor": true, "delay": true, "values": true,
	"cat": true, "wget": true, "curl": true, "bash": true, "sh": true, "ping": true, "echo": true, "powershell": true, "cmd": true}
