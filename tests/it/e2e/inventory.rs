//! `tenant show` against the world: nothing shown is missing, and nothing is there that is not shown.

use super::fixture::{SIX, shared};
use super::sweep::{shown, sweep};

#[tokio::test(flavor = "multi_thread")]
async fn aws_and_postgresql_hold_of_each_tier_of_both_stacks_just_what_show_lists() {
    let world = shared();
    world.six().await;
    let found = sweep(world).await;
    for id in SIX {
        let tenant = world.json(&["tenant", "show", id]);
        assert_eq!(found[id], shown(&tenant), "{id}: left what is there, right what is shown");
    }
}

/// The operator's own tools, in the environment that `sandbox env` prints.
#[tokio::test(flavor = "multi_thread")]
async fn aws_and_psql_see_the_same_world() {
    let world = shared();
    world.six().await;
    let env = world.ok(&["sandbox", "env"]).out;
    let sh = |script: &str| {
        let run = super::fixture::ended(world.bare("/bin/sh").args(["-euc", &format!("{env}\n{script}")]));
        assert_eq!(run.code, 0, "{script}\n{run}");
        run.out
    };
    assert!(sh("aws s3api list-buckets --query 'Buckets[].Name' --output text").contains("mate-hospital-a-sandbox-data"));
    assert_eq!(sh("aws cognito-idp list-user-pools --max-results 60 --query \"length(UserPools[?Name=='tenant-city-lab-pool'])\"").trim(), "1");
    assert!(sh("aws ecs list-services --cluster sandbox --max-items 100 --query serviceArns --output text").contains("mate-demo-clinic-sandbox-beat"));
    assert_eq!(sh("aws rds describe-db-clusters --db-cluster-identifier mate-hospital-a-sandbox --query 'DBClusters[0].StorageEncrypted'").trim(), "true");
    if sh("command -v psql || true").trim().is_empty() {
        return;
    }
    assert!(sh("psql -XAtc '\\dn'").contains("tenant_lakeside_lab"));
    assert!(sh("psql -XAtc '\\l'").contains("tenant_hospital_a"));
}
