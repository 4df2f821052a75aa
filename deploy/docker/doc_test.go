// Package docker holds the images, and what docker-compose.yml needs beside
// them. It has no code of its own: its tests load the composition as an engine
// would, run the build commands of the Dockerfile on the very context that
// Docker would send, and start the built programs with the composition's
// settings, since no engine is needed for any of that.
package docker

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/tapwatch/tapwatch/proto/local"
)

func TestMain(m *testing.M) {
	local.RunChildIfAsked()
	code := m.Run()
	os.RemoveAll(builtDir)
	os.Exit(code)
}

// root is the top of the tree.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// composition loads docker-compose.yml with all profiles, and env as the only
// environment.
func composition(t *testing.T, env ...string) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{filepath.Join(root(t), "docker-compose.yml")},
		cli.WithEnv(env), cli.WithProfiles([]string{"*"}), cli.WithResolvedPaths(true))
	if err != nil {
		t.Fatal(err)
	}
	p, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// ours says whether a service runs a program of Tapwatch, which one, and
// returns its Dockerfile target.
func ours(s types.ServiceConfig) (target string, ok bool) {
	if s.Build == nil {
		return "", false
	}
	return s.Build.Target, true
}

// stage is one FROM of the Dockerfile with its instructions.
type stage struct {
	name, base string
	do         [][2]string // instruction, rest of the line
}

// dockerfile reads the stages of the Dockerfile, with continued lines joined.
func dockerfile(t *testing.T) []stage {
	t.Helper()
	text, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	var stages []stage
	for line := range strings.Lines(strings.ReplaceAll(string(text), "\\\n", " ")) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		verb, rest, _ := strings.Cut(line, " ")
		if verb != "FROM" {
			last := &stages[len(stages)-1]
			last.do = append(last.do, [2]string{verb, strings.TrimSpace(rest)})
			continue
		}
		words := slices.DeleteFunc(strings.Fields(rest), func(w string) bool { return strings.HasPrefix(w, "--") })
		if len(words) != 3 || words[1] != "AS" {
			t.Fatalf("FROM %s: every stage needs a name", rest)
		}
		stages = append(stages, stage{name: words[2], base: words[0]})
	}
	return stages
}

func stageOf(t *testing.T, name string) stage {
	t.Helper()
	for _, s := range dockerfile(t) {
		if s.name == name {
			return s
		}
	}
	t.Fatalf("the Dockerfile has no stage %s", name)
	return stage{}
}

// all returns what follows verb in a stage, once per use.
func (s stage) all(verb string) []string {
	var rest []string
	for _, d := range s.do {
		if d[0] == verb {
			rest = append(rest, d[1])
		}
	}
	return rest
}
