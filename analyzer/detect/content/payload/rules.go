package payload

import (
	"regexp"
	"strings"
)

// rule is a grammar with a name.
type rule struct {
	kind Kind
	sure bool
	name string
	// needs are parts of which one is in every text that the grammar fits: the
	// cheap test before the dear one.
	needs   []string
	grammar *regexp.Regexp
}

type rules []rule

// find returns what of the rules fits a text in lower case.
func (list rules) find(text string) (signs []Sign) {
	for _, r := range list {
		if len(r.needs) > 0 && !containsAny(text, r.needs) {
			continue
		}
		if at := r.grammar.FindStringIndex(text); at != nil {
			signs = append(signs, Sign{r.kind, r.sure, r.name, cut(text[at[0]:at[1]])})
		}
	}
	return signs
}

func containsAny(text string, parts []string) bool {
	for _, p := range parts {
		if strings.Contains(text, p) {
			return true
		}
	}
	return false
}

func re(s string) *regexp.Regexp { return regexp.MustCompile(s) }

const (
	// doing is script that does something.
	doing = `(alert|prompt|confirm|eval|fetch|atob|settimeout|string\.fromcharcode)\s*[(` + "`" + `]|document\s*[.\[]|window\s*[.\[]|location\s*=|import\s*\(`
	// program begins a command that attackers run, with what follows a word.
	program = `(cat|wget|curl|ncat|nc|bash|sh|ping|nslookup|dig|powershell|pwsh|cmd|python[23]?|perl|php|chmod|rm|busybox|tftp|certutil|ls|echo|uname|ifconfig|ipconfig|netstat|whoami|id|sleep|touch|mkdir|base64|type|dir)`
	// handler is an attribute that runs script.
	handler = `on(error|load|click|mouseover|mouseenter|focus|blur|toggle|start|begin|pointerover|animationstart|transitionend|input|change|submit|wheel|pageshow|hashchange)`
)

var scriptRules = rules{
	{Script, true, "script element", []string{"<script"}, re(`<script[^>]*>[^<]*(` + doing + `)`)},
	{Script, true, "event handler", []string{"on"}, re(`<[a-z!/][^>]*[\s/"']` + handler + `\s*=\s*["']?[^>]*(` + doing + `)`)},
	{Script, true, "broken out attribute", []string{"on"}, re(`["'][\s/>]+(autofocus\s+)?` + handler + `\s*=\s*["']?[^>]*(` + doing + `)`)},
	{Script, true, "script address", []string{"javascript"}, re(`j\s*a\s*v\s*a\s*s\s*c\s*r\s*i\s*p\s*t\s*:[^"'>]*(alert|prompt|confirm|eval|fetch)\s*[(` + "`" + `]|javascript\s*:[^"'>]*document\s*\.\s*(cookie|write|location)`)},
	{Script, true, "closed and script", []string{"<script"}, re(`["']\s*/?>\s*<script`)},
	{Script, false, "script element of elsewhere", []string{"<script"}, re(`<script[\s/>]`)},
	{Script, false, "active element", []string{"<"}, re(`<(svg|iframe|object|embed|body|math|base|marquee|details|video|audio)[\s/][^>]*(on[a-z]+\s*=|src\s*=\s*["']?(javascript|data):)`)},
	{Script, false, "closed attribute", []string{">"}, re(`["']\s*/?>\s*<\s*[a-z!/]`)},
}

var commandRules = rules{
	{Command, true, "command after a separator", []string{";", "|", "&", "\n"}, re("(^|[^&])([;|&\n]|\\|\\||&&)\\s*(/usr)?(/bin/)?" + program + `(\s+(-|/|\.|\$|http|ftp|[\w.-]+\.[a-z]{2,}|\d+\.\d+|\w*/)|\$\{?ifs|\s*$|\s*[;|&#]|\s*>)`)},
	{Command, true, "command substitution", []string{"$(", "`"}, re("(\\$\\(|`)\\s*(/usr)?(/bin/)?" + program + "([\\s)`/]|\\$\\{?ifs)[^)`]*")},
	{Command, true, "shell", []string{"/sh", "/bash", "cmd", "powershell"}, re(`/bin/(ba|da|z|k)?sh(\s+-[ci]|\$\{?ifs|\s*$)|cmd(\.exe)?\s+/[ckr]\s*\w|powershell(\.exe)?\s+-(e|enc|encodedcommand|nop|noprofile|w|windowstyle|c|command|ep|ex)\b`)},
	{Command, true, "download and run", []string{"wget", "curl"}, re(`(wget|curl)(\s|\$\{?ifs\}?|\+)+[^|;&]*(https?://|\d+\.\d+\.\d+\.\d+)[^|;&]*[|;&]+\s*(sudo\s+)?((/bin/)?(ba)?sh|chmod|python|perl|/tmp|\./)`)},
	{Command, true, "expression language", []string{"java", "ognl", "runtime", "processbuilder"}, re(`(@ognl|#_memberaccess|ognl\.ognlcontext|t\(\s*java\.lang\.|java\.lang\.(runtime|processbuilder)|getruntime\(\)\s*\.\s*exec|#context\[)`)},
	{Command, true, "code of a template", []string{"__", "_self", "freemarker"}, re(`__(class|globals|subclasses|mro|builtins|import)__|freemarker\.template\.utility|_self\.env\.`)},
	{Command, true, "code of php", []string{"(", "<?"}, re(`(^|[^\w])(system|passthru|shell_exec|popen|proc_open|assert|phpinfo|call_user_func(_array)?|file_put_contents)\s*\(\s*(["'$]|base64_decode|\))[^;]*(\)|;|$)|<\?(php|=)\s`)},
	{Command, false, "template", []string{"{{", "${", "#{", "<%="}, re(`(\{\{|\$\{|#\{|<%=)\s*['"]?\d+['"]?\s*[*+-]\s*['"]?\d+['"]?\s*(\}|%>)`)},
	{Command, false, "separator and word", []string{";", "|", "`"}, re("[;|`]\\s*(wget|curl|nc|bash|chmod|nslookup|busybox|tftp|ifconfig|netstat)\\s+\\w")},
}

// nameRules are about names of parameters.
var nameRules = rules{
	{Command, true, "class loader", []string{"class"}, re(`class\.module\.classloader|class\.classloader\.`)},
	{Command, true, "expression language", []string{"@ognl", "memberaccess", "java.lang"}, re(`@ognl|#_?memberaccess|java\.lang\.(runtime|processbuilder)`)},
}

// queryRules are about a whole query, decoded, in lower case.
var queryRules = rules{
	{Command, true, "settings of php", []string{"allow_url_include", "auto_prepend_file"}, re(`(-d|\x{ad}d)\s*\+?(allow_url_include|auto_prepend_file)\s*=|auto_prepend_file\s*=\s*php:`)},
	{Command, true, "function by name", []string{"invokefunction", "call_user_func"}, re(`invokefunction.*call_user_func|function=call_user_func(_array)?&`)},
	{Command, true, "class loader", []string{"classloader"}, re(`class\.module\.classloader`)},
	{Command, false, "word for a shell", []string{"="}, re(`(^|[&?])(cmd|exec|command|execute|shell)=\s*(whoami|id|uname|ls|dir|cat|ipconfig|ifconfig|net\s+user)\b`)},
}

// pathRules are about paths.
var pathRules = rules{
	{Command, true, "shell", []string{"/sh", "/bash"}, re(`\.\.?/.*bin/(ba)?sh$`)},
	{Command, true, "expression language", []string{"@", "java.lang", "memberaccess"}, re(`[$%]\{.*(@ognl|#_?memberaccess|java\.lang|@java|getruntime|processbuilder)`)},
	{Command, false, "known hole", []string{"eval-stdin.php", "/_ignition/", "/solr/admin/cores", "/boaform/", "/goform/", "/hnap1", "/cgi-bin/luci/;stok", "/manager/text/deploy"},
		re(`phpunit/.*eval-stdin\.php|/_ignition/execute-solution|/boaform/admin/form|/cgi-bin/luci/;stok=/locale|/manager/text/deploy`)},
	{Script, true, "script element", []string{"<script"}, re(`<script[^>]*>[^<]*(` + doing + `)`)},
	{Command, true, "command after a separator", []string{";", "|", "`", "$("}, re("[;|`(]\\s*(/bin/)?(cat|wget|curl|nc|bash|sh|ping|nslookup|powershell|chmod|rm)(\\s+|\\$\\{?ifs\\}?)(-|/|http|\\d+\\.)")},
}

// headerRules are about a User-Agent.
var headerRules = rules{
	{Command, true, "function of a shell", []string{"()"}, re(`\(\) *\{\s*[^}]*;?\s*\}\s*;`)},
	{Command, true, "command substitution", []string{"$(", "`"}, re("(\\$\\(|`)\\s*(/usr)?(/bin/)?" + program + "[\\s)`/]")},
	{Command, true, "download and run", []string{"wget", "curl"}, re(`[;|&]\s*(wget|curl) +[^;|&]*(https?://|\d+\.\d+\.\d+\.\d+)`)},
	{Script, true, "script element", []string{"<script"}, re(`<script[^>]*>[^<]*(` + doing + `)`)},
	{SQL, true, "waiting", []string{"sleep", "waitfor", "benchmark"}, re(`['"]\s*(or|and|xor|\|\||;|\+|-|,)?\s*\(?\s*(select\b.*)?(if\s*\(.*)?(sleep\s*\(\s*\d|pg_sleep\s*\(|waitfor\s+delay|benchmark\s*\(\s*\d)`)},
	{SQL, true, "tautology", []string{"or", "and"}, re(`['"]\s*(or|and)\s+['"]?(\d+)['"]?\s*=\s*['"]?\d+`)},
	{Tool, false, "name of a tool", nil, re(`\b(sqlmap|nikto|acunetix|nessus|openvas|wpscan|gobuster|dirbuster|feroxbuster|ffuf|nuclei|wfuzz|havij|netsparker|w3af|arachni|jaeles|commix|xsser|zgrab|masscan|nmap scripting engine|hydra|fimap|joomscan|whatweb)\b`)},
}

// fileRules are about values that name files and streams.
var fileRules = rules{
	{Traversal, true, "system file", []string{"etc/", "win.ini", "boot.ini", "proc/", "system32"}, re(`^(file:(//)?(localhost)?)?/?/(etc/(passwd|shadow|hosts|group|issue|crontab|ssh/)|proc/(self|version|\d+)/?)|^(file:///?)?[a-z]:[\\/]+(windows[\\/]+(win\.ini|system32)|boot\.ini|winnt)`)},
	{Command, true, "stream of php", []string{"://", "data:"}, re(`php://(filter|input)|expect://|phar://|^data:(//)?text/(plain|html)[;,].*(base64,[a-z0-9+/=]{16}|<\?)`)},
}

var (
	upwards  = re(`(\.\.+[/\\]+){2,}`)
	upward   = re(`\.\.+[/\\]`)
	climbing = re(`(\.\.+[/\\]+)+([\w.-]+[/\\]+)*(etc[/\\]+(passwd|shadow|hosts|group|issue)|proc[/\\]+self|windows[/\\]+|winnt[/\\]+|boot\.ini|win\.ini|web-inf[/\\]+|\.ssh[/\\]+|\.env$|\.git[/\\]+|wp-config|bin[/\\]+(ba)?sh|usr[/\\]+bin|system32|var[/\\]+log|apache2?[/\\]+|httpd[/\\]+)`)
	slashes  = strings.NewReplacer("....//", "../", `....\\`, `..\`, "..;/", "../", ".%00./", "../", "%2e", ".", "%2f", "/", "%5c", `\`)
)

// traversalSigns finds the way up a tree. Two steps in the clear are also what
// careless pages write: it takes a file that is worth it, or four steps, of which
// several texts are needed.
func traversalSigns(text string) []Sign {
	if !strings.Contains(text, "..") {
		return nil
	}
	text = slashes.Replace(text)
	if at := climbing.FindStringIndex(text); at != nil {
		return []Sign{{Traversal, true, "way to a system file", cut(text[at[0]:at[1]])}}
	}
	if steps := len(upward.FindAllString(text, 8)); steps >= 4 && upwards.MatchString(text) {
		return []Sign{{Traversal, false, "way up the tree", cut(text)}}
	}
	return nil
}
