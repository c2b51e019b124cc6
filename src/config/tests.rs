//! Precedence, defaults and refusals of the settings.

use std::fs;

use super::*;

const TWO: &str = "[profiles.staging]\nregion = \"eu-central-1\"\n[profiles.staging.registry]\nhost = \"s\"\n[profiles.prod]\nregion = \"us-east-1\"\n[profiles.prod.registry]\nhost = \"p\"\npgpass = \"secrets/pgpass\"\n";

fn project() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(FILE), TWO).unwrap();
    dir
}

fn resolve(dir: &Path, flags: &Flags, variables: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    let mut all = vec![("HOME", "/home/ana")];
    all.extend_from_slice(variables);
    Settings::resolve(flags, &Environment::fixed(dir, &all))
}

fn profile(name: &str) -> Flags {
    Flags { profile: Some(name.to_owned()), config: None }
}

#[test]
fn the_sandbox_is_the_default_even_where_a_file_describes_platforms() {
    let dir = project();
    let settings = resolve(dir.path(), &Flags::default(), &[]).unwrap();
    assert_eq!(settings.profile.name(), SANDBOX);
    assert_eq!(settings.file, Some(dir.path().join(FILE)));
}

#[test]
fn a_flag_wins_over_the_environment_and_the_environment_over_the_default() {
    let dir = project();
    let env = [("LABCTL_PROFILE", "staging")];
    assert_eq!(resolve(dir.path(), &Flags::default(), &env).unwrap().profile.name(), "staging");
    assert_eq!(resolve(dir.path(), &profile("prod"), &env).unwrap().profile.name(), "prod");
    assert_eq!(resolve(dir.path(), &Flags::default(), &[("LABCTL_PROFILE", "")]).unwrap().profile.name(), SANDBOX);
}

#[test]
fn the_file_is_found_in_a_folder_above_and_its_paths_are_its_own() {
    let dir = project();
    let below = dir.path().join("a/b");
    fs::create_dir_all(&below).unwrap();
    let settings = resolve(&below, &profile("prod"), &[]).unwrap();
    let Profile::Platform(prod) = settings.profile else { panic!("not a platform") };
    assert_eq!(prod.environment, "prod");
    assert_eq!(prod.registry.tls, Tls::VerifyFull);
    assert_eq!(prod.registry.password.to_string(), dir.path().join("secrets/pgpass").display().to_string());
}

#[test]
fn a_named_file_wins_over_the_one_found_and_a_missing_one_is_an_error() {
    let dir = project();
    let other = dir.path().join("other.toml");
    fs::write(&other, "[profiles.x]\nregion = \"eu-central-1\"\n[profiles.x.registry]\nhost = \"h\"\n").unwrap();
    let named = Flags { profile: Some("x".to_owned()), config: Some("other.toml".into()) };
    assert_eq!(resolve(dir.path(), &named, &[("LABCTL_CONFIG", "gone.toml")]).unwrap().profile.name(), "x");
    assert!(matches!(resolve(dir.path(), &Flags::default(), &[("LABCTL_CONFIG", "gone.toml")]), Err(ConfigError::Read { .. })));
}

#[test]
fn a_password_from_the_environment_wins_and_is_never_shown() {
    let dir = project();
    let settings = resolve(dir.path(), &profile("prod"), &[("LABCTL_REGISTRY_PASSWORD", "hunter2")]).unwrap();
    let Profile::Platform(prod) = settings.profile else { panic!("not a platform") };
    assert!(matches!(prod.registry.password, Password::Given(_)));
    let shown = format!("{prod:?} {}", serde_json::to_string(&prod).unwrap());
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn an_unknown_profile_is_refused_with_a_suggestion() {
    let dir = project();
    let error = resolve(dir.path(), &profile("stagin"), &[]).unwrap_err();
    assert_eq!((error.to_string().as_str(), error.hint().as_deref()), ("there is no profile `stagin`", Some("did you mean `staging`?")));
    let bare = tempfile::tempdir().unwrap();
    let error = resolve(bare.path(), &profile("prod"), &[]).unwrap_err();
    assert!(error.hint().unwrap().contains("no labctl.toml was found"), "{:?}", error.hint());
}

#[test]
fn templates_are_the_files_choice_then_the_folder_beside_it_then_built_in() {
    let dir = project();
    let of = || resolve(dir.path(), &Flags::default(), &[]).map(|s| s.templates);
    assert_eq!(of().unwrap(), Templates::BuiltIn);
    fs::create_dir(dir.path().join("templates")).unwrap();
    assert_eq!(of().unwrap(), Templates::Folder(dir.path().join("templates")));
    fs::write(dir.path().join(FILE), "templates = \"elsewhere\"\n").unwrap();
    assert!(matches!(of(), Err(ConfigError::NoTemplates(_))));
}

#[test]
fn folders_follow_variable_then_root_then_xdg_then_home() {
    let dir = tempfile::tempdir().unwrap();
    let at = |env: Environment| Settings::resolve(&Flags::default(), &env).map(|s| (s.sandbox_dir, s.tools_dir));
    let pair = |a: &str, b: &str| (PathBuf::from(a), PathBuf::from(b));
    let home = ("HOME", "/home/ana");
    assert_eq!(at(Environment::fixed(dir.path(), &[home])).unwrap(), pair("/home/ana/.local/share/labctl/sandbox", "/home/ana/.cache/labctl/tools"));
    let xdg = [home, ("XDG_DATA_HOME", "/d"), ("XDG_CACHE_HOME", "/c")];
    assert_eq!(at(Environment::fixed(dir.path(), &xdg)).unwrap(), pair("/d/labctl/sandbox", "/c/labctl/tools"));
    assert_eq!(at(Environment::fixed(dir.path(), &xdg).as_root()).unwrap(), pair("/var/lib/labctl/sandbox", "/var/cache/labctl/tools"));
    let said = Environment::fixed(dir.path(), &[("LABCTL_SANDBOX_DIR", "here"), ("LABCTL_TOOLS_DIR", "/t")]);
    assert_eq!(at(said).unwrap(), (dir.path().join("here"), PathBuf::from("/t")));
    assert!(matches!(at(Environment::fixed(dir.path(), &[])), Err(ConfigError::NoHome)));
}

#[test]
fn the_operator_is_user_at_host() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(resolve(dir.path(), &Flags::default(), &[]).unwrap().operator.to_string(), "ana@build-3");
}
