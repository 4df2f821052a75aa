package docker

import (
	"debug/elf"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// ignored reports whether Docker leaves name (with /, from the top) out of the
// context, by the forms that Dockerfile.dockerignore uses: *, !PATH, **/GLOB.
func ignored(t *testing.T, patterns []string, name string) bool {
	t.Helper()
	out := false
	for _, p := range patterns {
		kept, again := strings.CutPrefix(p, "!")
		glob, deep := strings.CutPrefix(p, "**/")
		switch {
		case p == "*":
			out = true
		case again && !strings.ContainsAny(kept, "*?["):
			out = out && name != kept && !strings.HasPrefix(name, kept+"/")
		case deep && !again && !strings.Contains(glob, "/"):
			for part := range strings.SplitSeq(name, "/") {
				if match, err := path.Match(glob, part); err != nil {
					t.Fatal(err)
				} else if match {
					out = true
				}
			}
		default:
			t.Fatalf("Dockerfile.dockerignore: the form %q is not known here", p)
		}
	}
	return out
}

// sources copies to a new directory what the COPY instructions of the stage
// "source" find in the build context.
func sources(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("Dockerfile.dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	var patterns []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			patterns = append(patterns, line)
		}
	}
	top, to := root(t), t.TempDir()
	for _, args := range stageOf(t, "source").all("COPY") {
		words := strings.Fields(args)
		for _, from := range words[:len(words)-1] {
			dest := words[len(words)-1]
			if strings.HasSuffix(dest, "/") {
				dest = path.Join(dest, path.Base(from))
			}
			copied := 0
			err := filepath.WalkDir(filepath.Join(top, from), func(name string, entry fs.DirEntry, err error) error {
				if err != nil || entry.IsDir() {
					return err
				}
				rel, err := filepath.Rel(top, name)
				if err != nil || ignored(t, patterns, filepath.ToSlash(rel)) {
					return err
				}
				copied++
				data, err := os.ReadFile(name)
				if err != nil {
					return err
				}
				out := filepath.Join(to, dest, strings.TrimPrefix(filepath.ToSlash(rel), from))
				if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
					return err
				}
				return os.WriteFile(out, data, 0o644)
			})
			if err != nil || copied == 0 {
				t.Errorf("COPY %s: %d files, %v", from, copied, err)
			}
		}
	}
	return to
}

// programs builds the three programs once per test binary, as the images do,
// and returns the directory with them.
func programs(t *testing.T) string {
	t.Helper()
	built.Do(func() {
		dir, err := os.MkdirTemp("", "tapwatch-images-")
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if builtDir == "" {
				os.RemoveAll(dir)
			}
		}()
		src := sources(t)
		for _, name := range []string{"probe", "collector", "analyzer"} {
			runs := stageOf(t, "build-"+name).all("RUN")
			if len(runs) != 1 {
				t.Fatalf("build-%s has %d RUN instructions", name, len(runs))
			}
			command := mounts.ReplaceAllString(runs[0], "")
			if !strings.Contains(command, " -o /out/"+name+" ") {
				t.Fatalf("build-%s: %s makes no /out/%s", name, command, name)
			}
			cmd := exec.Command("sh", "-c", strings.ReplaceAll(command, "/out/", dir+"/"))
			cmd.Dir = src
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=", "GOFLAGS=")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", command, err, out)
			}
		}
		builtDir = dir
	})
	if builtDir == "" {
		t.Fatal("the programs were not built")
	}
	return builtDir
}

var (
	mounts   = regexp.MustCompile(`--mount=\S+\s+`)
	built    sync.Once
	builtDir string // removed by TestMain
)

// Every image starts the program that was built for it, and has the loader
// that program needs: distroless/static has none.
func TestImages(t *testing.T) {
	dir := programs(t)
	for _, name := range []string{"probe", "collector", "analyzer"} {
		s := stageOf(t, name)
		if got, want := s.all("COPY"), []string{"--from=build-" + name + " /out/" + name + " /usr/local/bin/" + name}; !slices.Equal(got, want) {
			t.Errorf("%s: COPY (-got +want)\n- %v\n+ %v", name, got, want)
		}
		if got := s.all("ENTRYPOINT"); !slices.Equal(got, []string{`["/usr/local/bin/` + name + `"]`}) {
			t.Errorf("%s: ENTRYPOINT %v", name, got)
		}
		if got := s.all("USER"); !slices.Equal(got, []string{"65532:65532"}) {
			t.Errorf("%s: USER %v", name, got)
		}
		program, err := elf.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		dynamic := slices.ContainsFunc(program.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
		program.Close()
		if static := strings.Contains(s.base, "distroless/static"); static && dynamic {
			t.Errorf("%s needs a loader, which %s does not have", name, s.base)
		}
	}
}

// The build commands are those of the Makefile, where only the place of the
// result differs.
func TestSameBuildAsMake(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root(t), "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"probe", "collector", "analyzer"} {
		command := mounts.ReplaceAllString(stageOf(t, "build-"+name).all("RUN")[0], "")
		want := "\t" + strings.Replace(strings.TrimSpace(command), "/out/", "$(BIN)/", 1) + "\n"
		if !strings.Contains(string(makefile), want) {
			t.Errorf("the Makefile has no line %q", want)
		}
	}
}
