//! `postern audit stats`: how many logins ended in which way.

use clap::Args;
use postern_proto::pb;
use postern_proto::pb::audit_service_client::AuditServiceClient;

use super::filter::TimeFlags;
use crate::failure::Failure;
use crate::flags::OutputFlags;
use crate::output;
use crate::session::Administrator;

#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    #[command(flatten)]
    time: TimeFlags,
    /// A K8s auth config's full name, gateways/GATEWAY/k8sAuthConfigs/ID
    #[arg(long, value_name = "CONFIG", default_value = "")]
    config: String,
}

pub(super) async fn run(
    args: &StatsArgs,
    administrator: &Administrator,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let (start_time, end_time) = args.time.parse()?;
    let request = pb::GetLoginStatsRequest {
        start_time,
        end_time,
        k8s_auth_config: args.config.clone(),
    };
    let answer = administrator
        .call(&request, |channel, request| async move {
            AuditServiceClient::new(channel)
                .get_login_stats(request)
                .await
        })
        .await?;
    let row = |stat: &pb::LoginStat| {
        vec![
            stat.k8s_auth_config.clone(),
            stat.result.clone(),
            stat.reason.clone(),
            stat.count.to_string(),
        ]
    };
    let rows = answer.stats.iter().map(row).collect();
    let table = output::table(&["CONFIG", "RESULT", "REASON", "LOGINS"], rows);
    let document = output::message("postern.v1.GetLoginStatsResponse", &answer)?;
    output::print(flags.format(), &document, &table)
}
